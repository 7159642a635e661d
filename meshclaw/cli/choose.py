"""Which model, when nobody said: only ever chosen before the eyes of a person in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshclaw.cli.asking import confirm
from meshclaw.cli.output import say
from meshclaw.cli.words import shorten

if TYPE_CHECKING:
    from meshclaw.app import App, WeightsMissingError

EMBEDDED_RUNTIME = "xllamacpp"


async def choose_model(app: App, task_name: str, named: str | None, *, ask: bool) -> str | None:
    """The model's name for a run; None leaves it to task and settings, which name one.

    Without one, the best that is here is used and named; `ask` offers it as the alias `default`, for which
    the person must have the keyboard: in `git diff | meshclaw run summarize` they only see the screen.
    """
    wanted = named or app.load_task(task_name).model
    if wanted != "default" or "default" in app.config.models:
        return named
    detected = await app.detect_models()
    if not detected:
        return _embedded()
    best = detected[0]
    say(f"no model is set: using {shorten(best.model, 80)} ({shorten(best.found, 80)})")
    if ask and confirm(f"Make it your default in {app.config_path}?"):
        app.save_alias("default", best.model)
    return best.model


def _embedded() -> str | None:
    """The embedded model, if there is a runtime for it; its weights are offered later."""
    from importlib.util import find_spec

    from meshclaw.models.catalogue import DEFAULT_LOCAL

    if find_spec(EMBEDDED_RUNTIME) is None:
        return None
    say(f"no model is set and no key or server was found: using the embedded local/{DEFAULT_LOCAL}")
    return f"local/{DEFAULT_LOCAL}"


async def offer_weights(app: App, missing: WeightsMissingError) -> bool:
    """Offers to fetch an embedded model's weights after saying their size; True when they are here."""
    from meshclaw.cli.pulling import pull_with_progress
    from meshclaw.models.fetch import FromHub

    say(f"local/{missing.name} runs on this machine; its weights are not here yet.")
    if not confirm(f"Download {missing.size / 1e9:.1f} GB now?"):
        return False
    await pull_with_progress(app.models, missing.name, FromHub(), quiet=False)
    return True
