"""`meshclaw tasks`: list, show, check, new, schema."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshclaw.cli.completion import task_names
from meshclaw.cli.output import emit, emit_exact, emit_formatted, emit_table, say
from meshclaw.cli.recordings import replay_recordings
from meshclaw.cli.session import emit_json, session
from meshclaw.errors import ExitCode, Problem, ProblemsError

if TYPE_CHECKING:
    from meshclaw.app import App, TaskSource

app = typer.Typer(
    help="List, show, check and write task files.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("test")(replay_recordings)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[
    str, typer.Argument(help="A task's name, or a task file.", metavar="TASK", autocompletion=task_names)
]


@app.command("list")
def list_(context: typer.Context, json_: Json = False) -> None:
    """List the tasks that can be run, and where each comes from.

    Of two tasks with one name the project's own goes first, then yours, then the built-in example.
    """
    meshclaw = session(context).app()
    found = [(source, *_description(meshclaw, source)) for source in meshclaw.task_sources()]
    if json_:
        emit_json(
            [
                {
                    "name": source.name,
                    "description": description,
                    "origin": source.origin,
                    "path": str(source.path),
                    "problems": problems,
                }
                for source, description, problems in found
            ]
        )
        return
    if not found:
        say("there are no tasks; `meshclaw init` copies examples")
        return
    rows = []
    for source, description, problems in found:
        broken = f"(does not load: `meshclaw tasks check {source.name}` says why)"
        rows.append([source.name, source.origin, broken if problems else description or ""])
    emit_table(["task", "from", "description"], rows, keep=(0, 1))


def _description(meshclaw: App, source: TaskSource) -> tuple[str | None, list[str]]:
    try:
        return meshclaw.read_task(source.path).description, []
    except ProblemsError as error:
        return None, [str(problem) for problem in error.problems]


@app.command()
def show(context: typer.Context, task: Name, json_: Json = False) -> None:
    """Show one task: what it asks, takes and may do."""
    from meshclaw.cli.task_page import task_data, task_page

    loaded = session(context).app().load_task(task)
    if json_:
        emit_json(task_data(loaded))
    else:
        emit(task_page(loaded))


@app.command()
def check(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Task names, files or folders (default: the project's tasks)."),
    ] = None,
    json_: Json = False,
) -> None:
    """Find every mistake in task files, without running anything.

    \b
    Prints one line a problem, `file:line:column: message - hint`, and exits 2 if there is any.
      meshclaw tasks check
      meshclaw tasks check tasks/nightly.yaml
    """
    meshclaw = session(context).app()
    problems: list[Problem] = []
    warnings: list[str] = []
    files = _files(meshclaw, paths or [], problems)
    for path in files:
        try:
            warnings += _warnings(meshclaw, path)
        except ProblemsError as error:
            # What is wrong with a task is found again with each that needs it.
            problems = list(dict.fromkeys([*problems, *error.problems]))
    if json_:
        emit_json(
            {
                "checked": len(files),
                "ok": not problems,
                "problems": [asdict(one) for one in problems],
                "warnings": warnings,
            }
        )
    elif problems:
        emit("\n".join(map(str, problems)))
    for warning in warnings:
        say(f"warning: {warning}", "33")
    tasks = f"{len(files)} task{'' if len(files) == 1 else 's'}"
    if problems:
        say(f"{tasks} checked, {len(problems)} problem{'' if len(problems) == 1 else 's'} found", "31;1")
        raise typer.Exit(int(ExitCode.USAGE))
    if not session(context).quiet:
        say(f"{tasks} checked, no problems")


def _warnings(meshclaw: App, path: Path) -> list[str]:
    """What is dangerous about a task. Raises ProblemsError with what is wrong, also in what it needs."""
    from meshclaw.app import RunOptions, TaskSource
    from meshclaw.app.families import family_of
    from meshclaw.app.risks import find_risks, warning

    task = meshclaw.read_task(path)
    family_of(meshclaw, TaskSource(task.name, path, "file"), task)
    risks = find_risks(task, RunOptions(), meshclaw.config, project=meshclaw.project, cwd=meshclaw.cwd)
    found = warning(task, risks)
    return [found] if found else []


def _files(meshclaw: App, paths: list[str], problems: list[Problem]) -> list[Path]:
    """The files that are meant; those that do not exist are added to `problems`."""
    if not paths:
        meshclaw.config  # noqa: B018 - raises what is wrong in the settings
        return [source.path for source in meshclaw.task_sources() if source.origin == "project"]
    found: list[Path] = []
    for name in paths:
        folder = meshclaw.cwd / name
        if folder.is_dir():
            found += sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
            continue
        try:
            found.append(meshclaw.find_task(name).path)
        except ProblemsError as error:
            problems += error.problems
    return found


@app.command()
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The task's name, which is its file's stem.", metavar="NAME")],
) -> None:
    """Write a commented task file to begin with. Never overwrites."""
    from meshclaw.app.trusting import trust_written
    from meshclaw.cli.skeletons import task_skeleton, write_schema

    found = session(context)
    meshclaw = found.app()
    bare = name.removesuffix(".yaml")
    if not bare or "/" in bare or bare.startswith("."):
        raise ProblemsError([Problem("NAME", 0, 0, f"'{name}' is no task name", "write a plain file stem")])
    folder = meshclaw.project / meshclaw.config.tasks
    path = folder / f"{bare}.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(task_skeleton(bare))
    except FileExistsError:
        raise ProblemsError([Problem(str(path), 0, 0, "there is such a task already")]) from None
    except OSError as error:
        raise ProblemsError([Problem(str(path), 0, 0, f"cannot be written: {error.strerror}")]) from None
    write_schema(folder, meshclaw.plugins.names("checks"))
    trust_written(meshclaw, [path])
    emit_exact(str(path))
    if not found.quiet:
        say(f"edit it, then: meshclaw tasks check {bare} && meshclaw run {bare} --dry-run")


@app.command()
def schema(context: typer.Context) -> None:
    """Print the JSON Schema of task files, for editors.

    \b
    The first line of a task file may name it:
      # yaml-language-server: $schema=./task.schema.json
    """
    from meshclaw.tasks import task_json_schema

    data: Any = task_json_schema(session(context).app().plugins.names("checks"))
    emit_formatted(json.dumps(data, indent=2))
