"""A yes-or-no question to the person at the terminal."""

from __future__ import annotations

import typer


def confirm(question: str) -> bool:
    """Asks on standard error; no is the default. Raises typer.Abort on Ctrl-C and at the input's end, and
    SystemExit on another signal.

    The event loop that we are called in takes the first signal as a wish to cancel what it does, but it
    does nothing as long as it waits for the answer: so signals raise meanwhile.
    """
    from meshclaw.cli.signals import raising

    with raising():
        return typer.confirm(question, default=False, err=True)
