"""Verdicts on results, by `settle` and by people, through the commands."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_terminal import Cli
from test_settling import NOW, Repository


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    repository = Repository(tmp_path)
    home = tmp_path / "data"
    (home / "runs").mkdir(parents=True)
    repository.run.rename(home / "runs" / "run-1")
    record: dict[str, Any] = {
        "run": "run-1",
        "task": "mend",
        "status": "succeeded",
        "outcome": "pending",
        "exit": 3,
        "project": str(repository.project),
        "started_at": (NOW - timedelta(days=20)).isoformat(),
        "duration_s": 5.0,
        "patch": {"files": ["a.py", "new.py"], "branch": None, "applied": False},
        "undelivered": {
            "output_file": "out.md",
            "output_root": str(repository.project),
            "branch": "meshclaw/mend",
            "apply": False,
            "message": "Mend it",
        },
    }
    (home / "runs" / "run-1" / "run.json").write_text(json.dumps(record))
    (home / "runs" / "run-1" / "result.txt").write_text("It is mended.")
    return Cli(capsys, repository.project, {"MESHCLAW_DATA_DIR": str(home)})


def verdicts(cli: Cli) -> list[tuple[str, str, str]]:
    path = Path(cli.environment["MESHCLAW_DATA_DIR"]) / "ledger.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(one["run"], one["verdict"], one["by"]) for one in lines if one["kind"] == "verdict"]


def test_settle_writes_a_verdict_once_and_a_person_has_the_last_word(cli: Cli) -> None:
    code, out, err = cli("settle", "--dry-run")
    assert (code, verdicts(cli)) == (0, []), err
    code, out, _ = cli("settle", "--json")
    (one,) = json.loads(out)
    assert (one["standing"], one["verdict"], one["written"]) == ("not taken up", "rejected", True)
    assert verdicts(cli) == [("run-1", "rejected", "settle")]
    assert json.loads(cli("settle", "--json")[1])[0]["written"] is False
    assert len(verdicts(cli)) == 1
    assert cli("runs", "accept", "run-1", "--why", "we use it")[0] == 0
    (one,) = json.loads(cli("settle", "--json")[1])
    assert (one["verdict"], one["written"]) == ("accepted", False)
    assert [verdict for _, verdict, _ in verdicts(cli)] == ["rejected", "accepted"]


def test_a_pending_result_is_delivered_when_a_person_accepts_it(cli: Cli) -> None:
    code, _, err = cli("runs", "accept", "last", "--why", "reads well")
    assert code == 0, err
    assert (cli.project / "out.md").read_text() == "It is mended.\n"
    named = subprocess.run(
        ["git", "log", "-1", "--format=%B", "meshclaw/mend"],
        cwd=cli.project,
        capture_output=True,
        check=True,
    )
    assert named.stdout.decode().split() == ["Mend", "it", "MeshClaw-Run:", "run-1"]
    record = json.loads(cli("runs", "list", "--json")[1])[0]
    assert (record["outcome"], record["output_file"], record["verdict"]["why"]) == (
        "accepted",
        "out.md",
        "reads well",
    )
    (verdict,) = verdicts(cli)
    assert verdict[:2] == ("run-1", "accepted")
    assert verdict[2] not in ("", "settle")


def test_a_rejected_result_is_not_delivered(cli: Cli) -> None:
    assert cli("runs", "reject", "last", "--why", "wrong")[0] == 0
    assert not (cli.project / "out.md").exists()
    assert verdicts(cli)[0][:2] == ("run-1", "rejected")


def test_wrong_use_is_named(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("settle", "--ref", "nosuch")
    assert (code, "there is no commit 'nosuch' here" in err) == (2, True)
    path = Path(cli.environment["MESHCLAW_DATA_DIR"]) / "runs" / "run-1" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "failed", "undelivered": None}))
    code, _, err = cli("runs", "accept", "last")
    assert (code, "has no result to judge" in err) == (2, True)
    assert verdicts(cli) == []
