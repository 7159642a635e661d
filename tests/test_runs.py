from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meshclaw.errors import LedgerError, LockedError, ProblemsError
from meshclaw.runs import (
    EVENTS,
    TRANSCRIPT_EVENTS,
    UNSYNCED_EVENTS,
    Event,
    RunDirectory,
    encode_line,
    is_held,
    read_transcript,
)


def test_the_tables_of_events_agree() -> None:
    assert set(EVENTS) > TRANSCRIPT_EVENTS > UNSYNCED_EVENTS


def test_lines_are_utf8_json_with_the_event_first_and_nothing_that_changes_from_run_to_run() -> None:
    line = encode_line(Event("notice", {"text": "größer\n✓", "why": "nudge"}))
    assert line == '{"event":"notice","text":"größer\\n✓","why":"nudge"}\n'.encode()


def test_what_is_appended_is_read_back_in_order(tmp_path: Path) -> None:
    events = [
        Event("start", {"system": "s"}),
        Event("response", {"call": "1.1.0"}),
        Event("end", {"status": "x"}),
    ]
    with RunDirectory(tmp_path / "run") as directory:
        for event in events:
            directory.append(event)
        assert list(read_transcript(directory.transcript)) == events


def test_a_torn_last_line_is_left_out_and_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run") as directory:
        directory.append(Event("notice", {"text": "whole"}))
        with directory.transcript.open("ab") as file:
            file.write(b'{"event":"notice","te')
    assert len(list(read_transcript(directory.transcript))) == 1
    with RunDirectory(tmp_path / "run") as directory:
        directory.append(Event("notice", {"text": "next"}))
    assert [event.data["text"] for event in read_transcript(directory.transcript)] == ["whole", "next"]


def test_a_line_that_is_not_a_transcripts_is_named(tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    path.write_bytes(b'{"event":"notice"}\n{"no":"event"}\n')
    with pytest.raises(ProblemsError, match=r"transcript\.jsonl:2:1: this is not a line"):
        list(read_transcript(path))


def test_a_run_that_works_holds_the_lock_of_its_folder(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run"), pytest.raises(LockedError):
        RunDirectory(tmp_path / "run").open()
    with RunDirectory(tmp_path / "run"):
        pass


def test_the_lock_goes_with_the_process_that_held_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from meshclaw.runs import RunDirectory;"
        "RunDirectory(Path(sys.argv[1])).open(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(LockedError):
            RunDirectory(tmp_path / "run").open()
        assert is_held(tmp_path / "run")
        process.kill()
    assert not is_held(tmp_path / "run")
    assert not is_held(tmp_path / "gone")
    with RunDirectory(tmp_path / "run"):
        pass


def test_the_record_is_replaced_in_one_step_and_private(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run") as directory:
        directory.write_record({"status": "running"})
        directory.write_record({"status": "succeeded", "result": "Grüße"})
        assert directory.read_record() == {"status": "succeeded", "result": "Grüße"}
        assert directory.record.stat().st_mode & 0o777 == 0o600
        assert directory.transcript.stat().st_mode & 0o777 == 0o600
        assert {path.name for path in directory.path.iterdir()} == {"run.json", "transcript.jsonl"}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_a_folder_without_a_readable_record_is_a_problem(tmp_path: Path, content: bytes) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    directory.record.write_bytes(content)
    with pytest.raises(ProblemsError, match="no readable run here"):
        directory.read_record()


def test_a_folder_that_cannot_be_made_is_exit_9(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LedgerError, match="cannot write"):
        RunDirectory(tmp_path / "file" / "run").open()


FILLED = """
import resource, signal, sys
from pathlib import Path
from meshclaw.errors import LedgerError
from meshclaw.runs import Event, RunDirectory
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
directory = RunDirectory(Path(sys.argv[1]))
directory.open()
directory.append(Event("notice", {"text": "kept"}))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
try:
    directory.append(Event("response", {"text": "x" * 5_000}))
except LedgerError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
directory.append(Event("end", {"status": "failed"}))
"""


def test_a_disk_that_fills_up_in_mid_line_leaves_whole_lines(tmp_path: Path) -> None:
    assert hasattr(resource, "RLIMIT_FSIZE")
    assert hasattr(signal, "SIGXFSZ")
    done = subprocess.run(
        [sys.executable, "-c", FILLED, str(tmp_path / "run")], capture_output=True, text=True, check=True
    )
    assert "cannot write" in done.stdout
    lines = (tmp_path / "run" / "transcript.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["notice", "end"]


def test_a_line_that_goes_with_the_next_is_written_with_it_or_at_the_end(tmp_path: Path) -> None:
    def lines() -> int:
        return directory.transcript.read_bytes().count(b"\n")

    with RunDirectory(tmp_path / "run") as directory:
        directory.append(Event("request", {"number": 1}), with_next=True)
        assert lines() == 0
        directory.append(Event("notice", {"number": 2}))
        assert lines() == 2
        directory.append(Event("request", {"number": 3}), with_next=True)
        directory.sync()
        assert lines() == 3
        directory.append(Event("request", {"number": 4}), with_next=True)
    found = [event.data["number"] for event in read_transcript(directory.transcript)]
    assert found == [1, 2, 3, 4]
