"""`meshclaw runs diff` and `runs apply`: the patch of a run that worked in a copy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshclaw.cli.completion import run_ids
from meshclaw.cli.output import BOLD, emit, emit_bytes, emit_styled, is_terminal, say
from meshclaw.cli.records import find_run
from meshclaw.cli.session import run_async, session
from meshclaw.cli.words import status_in_words
from meshclaw.workspace import shown_name

if TYPE_CHECKING:
    from meshclaw.isolation import KeptPatch

GREEN, CYAN, DARK_RED = "32", "36", "31"
SHOWN_LEFT_OUT = 10

Run = Annotated[
    str,
    typer.Argument(help="The beginning of a run's id, or `last`.", metavar="RUN", autocompletion=run_ids),
]


def diff(context: typer.Context, run: Run) -> None:
    """Print the patch of a run that worked in a copy.

    Into a pipe or a file it is the patch as git takes it. What else the run changed is not in it, and
    named on standard error.

    \b
      meshclaw runs diff last
      meshclaw runs diff 0198c1d2 | git apply --3way
    """
    kept = _kept(context, run)
    if is_terminal(sys.stdout):
        emit_styled(_coloured(kept.patch.text))
    else:
        emit_bytes(kept.patch.text)
    if not kept.patch.text:
        say("the run changed nothing that it may change")
    for one in kept.patch.left_out[:SHOWN_LEFT_OUT]:
        say(f"not in the patch: {shown_name(one.path)} ({one.why})")
    if len(kept.patch.left_out) > SHOWN_LEFT_OUT:
        say(f"... and {len(kept.patch.left_out) - SHOWN_LEFT_OUT} more")


def apply(
    context: typer.Context,
    run: Run,
    check: Annotated[bool, typer.Option("--check", help="Only say what would be changed.")] = False,
) -> None:
    """Bring the patch of a run into the project that it came from.

    What was changed there since is merged. Where that cannot be done nothing is changed, and each place is
    named. Git's index, commits and branches are not touched. Prints the names of the files.
    """
    kept = _kept(context, run)
    _say_what_it_is_worth(kept.folder)
    environment = session(context).environment

    async def work() -> tuple[str, ...]:
        return await kept.apply(environment, check=check)

    files = run_async(work)
    if not check:
        _note_applied(kept.folder)
    for name in files:
        emit(shown_name(name))
    project = kept.origin.repository.project
    if not kept.patch.files:
        say("the run changed nothing that it may change")
    elif not files:
        say(f"{project} has all of it already")
    else:
        number = "1 file" if len(files) == 1 else f"{len(files)} files"
        say(f"would change {number} in {project}" if check else f"changed {number} in {project}")


def _kept(context: typer.Context, run: str) -> KeptPatch:
    from meshclaw.isolation import KeptPatch

    folder = find_run(session(context).app().runs_dir, run)
    return run_async(KeptPatch.read, folder)


def _say_what_it_is_worth(folder: Path) -> None:
    """Whoever applies a patch that was not accepted should know that it was not."""
    from meshclaw.runs import RunDirectory

    record = RunDirectory(folder).read_record()
    if record.get("outcome") == "pending":
        say(f"the run waits for a person: {record.get('reason')}", "33")
    elif record.get("outcome") == "rejected" or record.get("status") != "succeeded":
        ended = status_in_words(record)
        say(f"the run {'was ' if ended.startswith('rejected') else ''}{ended}", "33")


def _note_applied(folder: Path) -> None:
    """In the run's record, for whoever looks at what became of it."""
    from meshclaw.runs import RunDirectory

    directory = RunDirectory(folder)
    record = directory.read_record()
    if isinstance(record.get("patch"), dict) and not record["patch"].get("applied"):
        directory.write_record({**record, "patch": {**record["patch"], "applied": True}})


def _coloured(patch: bytes) -> Iterator[tuple[str, str]]:
    """Each line for a terminal, and its style. What nobody would see is shown as an escape."""
    heading = False
    for line in patch.decode("utf-8", "backslashreplace").split("\n"):
        heading = line.startswith("diff --git ") or (heading and not line.startswith("@@ "))
        style = BOLD if heading else _STYLES.get(line[:1], "")
        yield "".join(map(_visible, line)), style


_STYLES = {"+": GREEN, "-": DARK_RED, "@": CYAN}


def _visible(char: str) -> str:
    from meshclaw.trust import is_hidden

    return json.dumps(char)[1:-1] if char != "\t" and is_hidden(char) else char
