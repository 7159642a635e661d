"""The command `meshclaw`: global options, and the commands, each loaded when it is called."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from meshclaw import __version__
from meshclaw.cli.failures import (
    SIGPIPE_EXIT,
    flush,
    report_defect,
    report_failure,
    report_interrupted,
    report_usage,
)
from meshclaw.cli.output import PipeClosed, emit
from meshclaw.cli.privacy import close_to_others, guard_errors, protect, redactor_of
from meshclaw.cli.session import Session
from meshclaw.errors import ExitCode, MeshClawError, Problem, ProblemsError

COMMANDS: dict[str, str] = {
    "run": "Delegate a task: print its result, write its cost into the ledger.",
    "tasks": "List, show, check and write task files.",
    "trust": "Look at what this project's files could make happen, and trust them.",
    "runs": "List the runs there were and read what happened in them.",
    "settle": "Judge earlier runs by what became of their patches, from plain git.",
    "report": "Add up what was spent: by day, task, model, runner or project.",
    "ledger": "Find, verify and rotate the ledger.",
    "models": "The embedded models: list, pull and remove their files.",
    "config": "Show every setting and where its value comes from.",
    "doctor": "Look at what works here: models, keys, sandbox, ledger, cron.",
    "init": "Begin here: example tasks and a commented meshclaw.yaml.",
}
"""Every command and its one-line help. `meshclaw.cli.<name>.app` is the rest of it."""

COLLECT_AT = 500_000, 20, 10
"""When the collector of cycles goes to work. Modules live as long as we do: at its usual thresholds it goes
through them again and again while they are made, a sixth of the time that an SDK's import takes."""

HELP = """Delegate work, not tokens.

One YAML file says what is asked. `meshclaw run` does it and writes what it cost into a ledger that
cannot be fudged.

\b
Examples:
  git diff | meshclaw run summarize
  meshclaw run review-diff
  meshclaw report --by task --since 7d
"""


class LazyCommands(TyperGroup):
    """Loads a command's module when the command is called; help texts are in COMMANDS."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            command = typer.main.get_command(import_module(f"meshclaw.cli.{cmd_name}").app)
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS:
            # Suggestions for a mistyped name are drawn from `commands`.
            for name in COMMANDS:
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    name="meshclaw",
    cls=LazyCommands,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        emit(f"meshclaw {__version__}")
        raise typer.Exit


@app.callback()
def set_up(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="Your settings file (default: in your config folder)."
        ),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", metavar="FILE", help="The ledger (default: in your data folder)."),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option("--project", metavar="DIR", help="The project's folder (default: found upwards)."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only results and errors, no progress.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    found: Session = context.obj
    found.quiet = quiet
    if project is not None and not (found.cwd / project).is_dir():
        raise ProblemsError([Problem("--project", 0, 0, f"there is no folder {project}")])
    if config is not None and not (found.cwd / config).exists():
        raise ProblemsError([Problem("--config", 0, 0, f"there is no {config}")])
    given = {"config": config, "ledger": ledger, "project": project}
    found.flags = {name: str(path) for name, path in given.items() if path is not None}


def invoke(argv: Sequence[str], environment: Mapping[str, str], cwd: Path) -> int:
    """Carries out one command line and returns its exit code. Raises nothing."""
    protect(cache(partial(redactor_of, environment)))
    try:
        code = typer.main.get_command(app).main(
            args=list(argv),
            prog_name="meshclaw",
            standalone_mode=False,
            obj=Session(environment, cwd),
        )
        return code if isinstance(code, int) else int(ExitCode.OK)
    except MeshClawError as error:
        return report_failure(error, argv)
    except typer.TyperException as error:
        return report_usage(error, argv)
    except PipeClosed:
        return SIGPIPE_EXIT
    except (KeyboardInterrupt, typer.Abort):
        return report_interrupted(int(ExitCode.INTERRUPTED), argv)
    except SystemExit as error:
        if error.code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            return report_interrupted(int(error.code), argv)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception as error:
        return report_defect(error, argv, debug=bool(environment.get("MESHCLAW_DEBUG")))
    finally:
        flush()


def main() -> NoReturn:
    """The console script."""
    close_to_others()
    guard_errors()
    gc.set_threshold(*COLLECT_AT)
    # Nobody's plug-in for a library of ours runs where the keys are; nor is the time spent to look for one.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    try:
        here = Path.cwd()
    except OSError as error:
        problem = Problem("current folder", 0, 0, f"is gone: {error.strerror}", "cd to one that exists")
        sys.exit(report_failure(ProblemsError([problem]), sys.argv[1:]))
    code = invoke(sys.argv[1:], os.environ, here)
    if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        # All that was begun has been ended. What may be left is a thread that waits for input which never
        # comes: the interpreter would wait for it.
        os._exit(code)
    sys.exit(code)
