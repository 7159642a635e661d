"""`meshclaw init`: example tasks and a commented meshclaw.yaml, never over anything that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from meshclaw.cli.output import emit_exact, say
from meshclaw.cli.session import session
from meshclaw.errors import Problem, ProblemsError

if TYPE_CHECKING:
    from meshclaw.app import App

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)

NEXT = """\
next:
  meshclaw tasks list                  what can be run
  meshclaw run summarize < README.md   with ANTHROPIC_API_KEY or OPENAI_API_KEY set, or after
  meshclaw models pull                 the embedded model, which needs no key
  meshclaw report                      what it cost"""


@app.command()
def init(context: typer.Context) -> None:
    """Begin here: copy example tasks to tasks/ and write a commented meshclaw.yaml.

    Nothing that is there is overwritten. No task needs this: the examples also run without it.
    """
    from meshclaw.app.places import SETTINGS_FILE, example_tasks
    from meshclaw.app.trusting import trust_written
    from meshclaw.cli.skeletons import SETTINGS, with_schema_beside, write_schema

    found = session(context)
    meshclaw = found.app()
    folder = meshclaw.project / meshclaw.config.tasks
    wanted = {meshclaw.project / SETTINGS_FILE: SETTINGS}
    for path in sorted(example_tasks().glob("*.yaml")):
        wanted[folder / path.name] = with_schema_beside(path.read_text(encoding="utf-8"))
    written, skipped = _write(wanted)
    write_schema(folder, meshclaw.plugins.names("checks"))
    trust_written(meshclaw, written)
    for path in written:
        emit_exact(_shown(path, meshclaw))
    if not found.quiet:
        for path in skipped:
            say(f"kept {_shown(path, meshclaw)}: it was there already")
        say(NEXT)


def _write(wanted: dict[Path, str]) -> tuple[list[Path], list[Path]]:
    """Writes what does not exist yet: (written, skipped)."""
    written: list[Path] = []
    skipped: list[Path] = []
    for path, content in wanted.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(content)
            written.append(path)
        except FileExistsError:
            skipped.append(path)
        except OSError as error:
            raise ProblemsError(
                [Problem(str(path), 0, 0, f"cannot be written: {error.strerror}")]
            ) from None
    return written, skipped


def _shown(path: Path, meshclaw: App) -> str:
    return str(path.relative_to(meshclaw.cwd)) if path.is_relative_to(meshclaw.cwd) else str(path)
