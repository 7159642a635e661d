"""How a command that failed says so: on standard error, in its exit code, and in JSON where asked."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Any

from meshclaw.cli.output import PipeClosed, emit_formatted, say, say_error
from meshclaw.cli.privacy import redactor
from meshclaw.cli.session import to_json
from meshclaw.errors import (
    ExitCode,
    LedgerError,
    MeshClawError,
    PolicyError,
    Problem,
    ProblemsError,
    WorkError,
)

SIGPIPE_EXIT = 141
"""What a shell reports for a program that SIGPIPE ended."""


def exit_codes_help() -> str:
    """The table of exit codes as a help epilog."""
    from meshclaw.errors import EXIT_MEANINGS

    lines = [f"{int(code):>5}  {meaning}" for code, meaning in EXIT_MEANINGS.items()]
    return "\b\nExit codes:\n" + "\n".join(lines)


def tell(error: MeshClawError) -> None:
    """The message for a person: one Problem a line, or the error and its hint."""
    if isinstance(error, ProblemsError):
        for problem in error.problems:
            say(str(problem))
    else:
        say_error(error.message, error.hint)
        if isinstance(error, LedgerError) and error.run is not None:
            say(f"  then: meshclaw runs {'resume' if error.resumable else 'show'} {error.run}")


def report_failure(error: MeshClawError, argv: Sequence[str]) -> int:
    """Tells and, when `--json` or `--stream-json` was asked for, prints one object that says the same."""
    tell(error)
    problems = error.problems if isinstance(error, ProblemsError) else ()
    status = "refused" if isinstance(error, PolicyError) else "failed"
    run = error.run if isinstance(error, LedgerError) else None
    _emit_failure(argv, int(error.exit_code), str(error), problems, status, run)
    return int(error.exit_code)


def report_usage(error: Any, argv: Sequence[str]) -> int:
    """A mistake on the command line, as Typer found it."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        say(error.format_message())
        return int(ExitCode.USAGE)
    message = error.format_message()
    say_error(message, f"`{context.command_path} --help` shows how" if context else "")
    problem = Problem("command line", 0, 0, message)
    _emit_failure(argv, int(ExitCode.USAGE), message, [problem])
    return int(ExitCode.USAGE)


def report_defect(error: BaseException, argv: Sequence[str], *, debug: bool) -> int:
    """A mistake of ours: short, unless MESHCLAW_DEBUG asks for the whole story."""
    message = f"{type(error).__name__}: {error}".removesuffix(": ")
    if debug:
        say("".join(traceback.format_exception(error)).rstrip())
    else:
        say_error(
            f"unexpected: {message}",
            "this is a defect of meshclaw's; MESHCLAW_DEBUG=1 shows where it happened",
        )
    _emit_failure(argv, int(ExitCode.FAILED), message, [])
    return int(ExitCode.FAILED)


def report_interrupted(exit_code: int, argv: Sequence[str]) -> int:
    """Interrupted before anything was started: a line says so, and the one object that was asked for."""
    say_error("interrupted")
    _emit_failure(argv, exit_code, "interrupted", [], "interrupted")
    return exit_code


def _emit_failure(
    argv: Sequence[str],
    exit_code: int,
    reason: str,
    problems: Sequence[Problem],
    status: str = "failed",
    run: str | None = None,
) -> None:
    options = argv[: argv.index("--")] if "--" in argv else argv
    if "--json" not in options and "--stream-json" not in options:
        return
    found: dict[str, Any] = {
        "run": run,
        "status": status,
        "exit": exit_code,
        "reason": reason,
        "result": None,
        "problems": [str(problem) for problem in problems],
    }
    if "--stream-json" in options:
        found = {"event": "run-end", **found}
    try:
        emit_formatted(to_json(redactor().data(found)))
    except (PipeClosed, WorkError):
        pass


def flush() -> None:
    """Brings a closed pipe to light now, not in the interpreter's last breath."""
    from meshclaw.cli.output import silence

    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            silence(stream)
