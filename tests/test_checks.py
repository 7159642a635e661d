"""Each kind of check: what passes, what fails and why, and when it cannot tell."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from meshclaw.checks import CheckContext, CheckResult, FileChange, run_check
from meshclaw.checks.changes import ChangedCheck, MaxDiffCheck, UnchangedCheck
from meshclaw.checks.command import RunCheck
from meshclaw.checks.files import FilesCheck
from meshclaw.checks.human import HumanCheck
from meshclaw.checks.schema import SchemaCheck
from meshclaw.checks.text import MAX_FILE, AbsentCheck, MatchesCheck
from meshclaw.runs import Candidate, RunStatus
from meshclaw.sandbox.base import Command, CommandResult, SandboxError
from meshclaw.sandbox.unconfined import Unconfined

NOWHERE = CheckContext(Path("/nonexistent"))
Execute = Callable[[str, float], Awaitable[CommandResult]]


def said(text: str, value: Any = None) -> Candidate:
    return Candidate(text, RunStatus.SUCCEEDED, value=value)


DONE = said("done")


def shell(folder: Path) -> Execute:
    """Runs commands for real."""

    async def execute(script: str, timeout: float) -> CommandResult:
        command = Command(script, folder, {"PATH": os.environ["PATH"]}, timeout=timeout)
        return await Unconfined().execute(command)

    return execute


def answers(result: CommandResult | Exception) -> Execute:
    async def execute(script: str, timeout: float) -> CommandResult:
        if isinstance(result, Exception):
            raise result
        return result

    return execute


# run


async def test_a_command_that_exits_0_passes(tmp_path: Path) -> None:
    (tmp_path / "ok").touch()
    context = CheckContext(tmp_path, execute=shell(tmp_path))
    found = await run_check(RunCheck("test -e ok && echo yes"), DONE, context)
    assert (found.status, found.reason, found.evidence) == ("passed", "", "yes\n")
    assert found.label == "run: test -e ok && echo yes"
    assert found.seconds > 0


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo out; echo err >&2; exit 3", "exit code 3"),
        ("no-such-command", "exit code 127 (a command was not found)"),
        ("kill -9 $$", "exit code 137"),
    ],
)
async def test_any_other_end_fails_with_its_output(tmp_path: Path, script: str, reason: str) -> None:
    found = await run_check(RunCheck(script), DONE, CheckContext(tmp_path, execute=shell(tmp_path)))
    assert (found.status, found.reason) == ("failed", reason)
    if "out" in script:
        assert found.evidence == "out\nerr\n"


async def test_a_command_that_takes_too_long_fails(tmp_path: Path) -> None:
    context = CheckContext(tmp_path, execute=shell(tmp_path))
    found = await run_check(RunCheck("echo begun; sleep 60", timeout=2.0), DONE, context)
    assert (found.status, found.reason) == ("failed", "it ran longer than 2 s")
    assert found.evidence == "begun\n"


async def test_a_command_that_a_limit_ended_fails() -> None:
    stopped = CommandResult(None, "begun\n", stopped="more than 4 GiB of memory")
    found = await run_check(RunCheck("x"), DONE, CheckContext(NOWHERE.files, execute=answers(stopped)))
    assert (found.status, found.reason) == ("failed", "it was stopped: more than 4 GiB of memory")


@pytest.mark.parametrize("problem", [SandboxError("cannot be held"), FileNotFoundError("no shell")])
async def test_a_command_that_could_not_run_is_an_error(problem: Exception) -> None:
    found = await run_check(RunCheck("x"), DONE, CheckContext(NOWHERE.files, execute=answers(problem)))
    assert found.status == "error"
    assert str(problem) in found.reason
    assert (await run_check(RunCheck("x"), DONE, NOWHERE)).status == "error"


async def test_long_output_keeps_its_beginning_and_end() -> None:
    lines = [f"line {number}" for number in range(10_000)]
    result = CommandResult(1, "\n".join(lines))
    found = await run_check(RunCheck("x"), DONE, CheckContext(NOWHERE.files, execute=answers(result)))
    kept = found.evidence.splitlines()
    assert len(found.evidence) < 4_100
    assert (kept[0], kept[-1]) == ("line 0", "line 9999")
    assert set(kept) - set(lines) == {next(line for line in kept if "characters are left out" in line)}


# schema

SCHEMA = {"type": "object", "required": ["title"], "properties": {"title": {"type": "string"}}}


@pytest.mark.parametrize(
    ("candidate", "status"),
    [
        (said('{"title": "x"}'), "passed"),
        (said('```json\n{"title": "x"}\n```'), "passed"),
        (said("whatever", {"title": "x"}), "passed"),
        (said('{"title": "x"}', {"title": 5}), "failed"),
        (said('{"titel": "x"}'), "failed"),
        (said("null"), "failed"),
        (said(""), "failed"),
        (said("[" * 100_000), "failed"),
    ],
)
async def test_a_result_fits_the_schema_or_not(candidate: Candidate, status: str) -> None:
    found = await run_check(SchemaCheck(), candidate, CheckContext(NOWHERE.files, schema=SCHEMA))
    assert found.status == status
    assert (status == "passed") == (found.reason == "")


async def test_without_a_schema_nothing_can_be_told() -> None:
    assert (await run_check(SchemaCheck(), said("{}"), NOWHERE)).status == "error"


async def test_every_violation_is_evidence() -> None:
    schema = {"required": ["a", "b"]}
    found = await run_check(SchemaCheck(), said("{}"), CheckContext(NOWHERE.files, schema=schema))
    assert found.reason == "the result does not fit: $: 'a' is a required property"
    assert found.evidence.splitlines() == ["$: 'a' is a required property", "$: 'b' is a required property"]


# matches, absent


def within(name: str) -> dict[str, Any]:
    """The option `in`, which is a word of Python's."""
    return {"in": name}


async def text_check(
    check: MatchesCheck | AbsentCheck, text: str = "", files: Path = NOWHERE.files
) -> CheckResult:
    return await run_check(check, said(text), CheckContext(files))


async def test_a_pattern_is_looked_for_in_the_result() -> None:
    text = "Report\nRoot cause: a\nTODO: more\n TODO too\n"
    assert (await text_check(MatchesCheck("(?m)^Root cause:"), text)).status == "passed"
    found = await text_check(MatchesCheck("^Root cause:"), text)
    assert (found.status, found.reason) == ("failed", "the result does not match ^Root cause:")
    assert (await text_check(AbsentCheck("FIXME"), text)).status == "passed"
    found = await text_check(AbsentCheck("TODO"), text)
    assert (found.status, found.reason) == ("failed", "the result matches TODO")
    assert found.evidence == "line 3: TODO: more\nline 4: TODO too"


async def test_a_pattern_is_looked_for_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_bytes(b"cause: \xff\n")
    (tmp_path / "inner").symlink_to("x.md")
    for name in ("x.md", "inner"):
        assert (await text_check(MatchesCheck("cause", **within(name)), "", tmp_path)).status == "passed"
        assert (await text_check(AbsentCheck("cause", **within(name)), "", tmp_path)).status == "failed"
    assert (await text_check(MatchesCheck("cause"), "", tmp_path)).status == "failed"


@pytest.mark.parametrize("kind", [MatchesCheck, AbsentCheck])
@pytest.mark.parametrize("name", ["gone.md", "folder", "out", "loop", "pipe", ".git/config"])
async def test_a_file_that_cannot_be_opened_never_passes(
    tmp_path: Path, kind: type[MatchesCheck | AbsentCheck], name: str
) -> None:
    work = tmp_path / "work"
    (work / ".git").mkdir(parents=True)
    (work / ".git" / "config").write_text("[core]")
    (work / "folder").mkdir()
    (tmp_path / "secret").write_text("secret")
    (work / "out").symlink_to(tmp_path / "secret")
    (work / "loop").symlink_to("loop")
    os.mkfifo(work / "pipe")
    # The pattern that would pass, if the file were read.
    pattern = "." if kind is MatchesCheck else "never"
    found = await text_check(kind(pattern, **within(name)), "", work)
    assert found.status == "failed"
    assert name in found.reason
    assert "secret" not in found.evidence


async def test_a_file_that_is_too_large_cannot_be_judged(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(MAX_FILE + 1)
    assert (await text_check(AbsentCheck("x", **within("big")), "", tmp_path)).status == "error"
    with (tmp_path / "big").open("wb") as file:
        file.truncate(MAX_FILE)
    assert (await text_check(AbsentCheck("x", **within("big")), "", tmp_path)).status == "passed"


@pytest.mark.parametrize("kind", [MatchesCheck, AbsentCheck])
async def test_a_pattern_that_takes_too_long_is_an_error(kind: type[MatchesCheck | AbsentCheck]) -> None:
    found = await text_check(kind(r"(?:a|aa)+$", seconds=0.05), "a" * 60 + "b")
    assert found.status == "error"
    assert found.reason == "the pattern took longer than 0.05 s on the result"


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="matches has no option on"):
        MatchesCheck("x", on="y")


# files


async def test_files_exist_with_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "app").write_bytes(b"x" * 1_000)
    (tmp_path / "empty").touch()
    context = CheckContext(tmp_path)
    fit: Mapping[str, Mapping[str, int]] = {"dist/app": {"min": 1_000, "max": 1_000}, "empty": {}}
    assert (await run_check(FilesCheck(fit), DONE, context)).status == "passed"
    unfit = {"dist/app": {"max": 999}, "empty": {"min": 1}, "dist": {}, "gone": {}}
    found = await run_check(FilesCheck(unfit), DONE, context)
    assert (found.status, found.reason) == ("failed", "dist/app: has 1000 bytes, more than 999")
    assert found.evidence.splitlines()[1:] == [
        "empty: has 0 bytes, less than 1",
        "dist: is a folder, not a file",
        "gone: no such file or folder",
    ]


async def test_a_link_that_leads_out_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "outside").write_text("x")
    (tmp_path / "work" / "made").symlink_to(tmp_path / "outside")
    (tmp_path / "work" / "real").write_text("x")
    context = CheckContext(tmp_path / "work")
    assert (await run_check(FilesCheck({"made": {}}), DONE, context)).status == "failed"
    assert (await run_check(FilesCheck({"real": {}}), DONE, context)).status == "passed"


# changed, unchanged, max_diff

CHANGES = (
    FileChange("src/app.py", "changed", 3, 1),
    FileChange("src/deep/new.py", "added", 10, 0),
    FileChange("tests/test_old.py", "deleted", 0, 20),
)


@pytest.mark.parametrize(
    ("check", "status", "reason"),
    [
        (ChangedCheck(["src/**"]), "passed", ""),
        (ChangedCheck(["docs/**", "tests/*.py"]), "passed", ""),
        (ChangedCheck(["docs/**", "*.py"]), "failed", "nothing was changed in docs/**, *.py"),
        (UnchangedCheck(["docs/**"]), "passed", ""),
        (UnchangedCheck(["tests/**"]), "failed", "tests/test_old.py was deleted"),
        (UnchangedCheck(["docs/**", "src/**"]), "failed", "src/app.py was changed and 1 more"),
        (MaxDiffCheck(34), "passed", ""),
        (MaxDiffCheck(33), "failed", "34 lines were added and removed, more than 33"),
    ],
)
async def test_what_was_changed(check: ChangedCheck, status: str, reason: str) -> None:
    found = await run_check(check, DONE, CheckContext(NOWHERE.files, changes=CHANGES))
    assert (found.status, found.reason) == (status, reason)


async def test_changes_are_evidence() -> None:
    context = CheckContext(NOWHERE.files, changes=CHANGES)
    found = await run_check(MaxDiffCheck(1), DONE, context)
    assert found.evidence.splitlines() == [
        "changed src/app.py (+3 -1)",
        "added src/deep/new.py (+10 -0)",
        "deleted tests/test_old.py (+0 -20)",
    ]


async def test_where_nothing_was_changed() -> None:
    context = CheckContext(NOWHERE.files, changes=())
    found = await run_check(ChangedCheck(["**"]), DONE, context)
    assert (found.status, found.reason) == ("failed", "no file was changed")
    assert (await run_check(UnchangedCheck(["**"]), DONE, context)).status == "passed"
    assert (await run_check(MaxDiffCheck(1), DONE, context)).status == "passed"


@pytest.mark.parametrize("check", [ChangedCheck(["**"]), UnchangedCheck(["no"]), MaxDiffCheck(10**9)])
async def test_unknown_changes_never_pass(check: ChangedCheck | UnchangedCheck | MaxDiffCheck) -> None:
    assert check.needs_changes
    assert (await run_check(check, DONE, NOWHERE)).status == "error"


async def test_the_lines_of_a_binary_file_are_not_taken_for_none() -> None:
    changes = (FileChange("a.py", "changed", 5, 5), FileChange("logo.png", "added", None, None))
    context = CheckContext(NOWHERE.files, changes=changes)
    found = await run_check(MaxDiffCheck(200), DONE, context)
    assert (found.status, found.reason) == (
        "error",
        "the lines of a binary file cannot be counted: logo.png",
    )
    assert (await run_check(MaxDiffCheck(9), DONE, context)).status == "failed"


# human


async def test_a_person_is_waited_for() -> None:
    found = await run_check(HumanCheck("the plot"), DONE, NOWHERE)
    assert (found.status, found.label, found.reason) == (
        "pending",
        "human: the plot",
        "a person has to decide",
    )
