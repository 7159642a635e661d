"""What a person sees of a run while it happens, when standard error is no terminal: plain lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from meshclaw.cli.output import say
from meshclaw.cli.words import call_in_words, cost_in_words, shorten, tokens_in_words
from meshclaw.pricing import format_usd
from meshclaw.runs import Event


class View(Protocol):
    """Shows a run. Everything it is given may come from a model or a file: it cleans what it shows."""

    def listen(self, event: Event) -> None:
        """Takes in one event. Never raises."""

    def note(self, text: str) -> None:
        """Shows a sentence of our own."""

    def close(self) -> None:
        """Gives the terminal back; may be called twice."""

    def leave(self) -> None:
        """The same from inside a signal handler, just before the process ends: takes no locks."""


class NoView:
    """For `--quiet`."""

    def listen(self, event: Event) -> None: ...

    def note(self, text: str) -> None: ...

    def close(self) -> None: ...

    def leave(self) -> None: ...


class PlainView:
    """One line for each step, tool call and retry."""

    def listen(self, event: Event) -> None:
        line = describe(event)
        if line:
            say(line)

    def note(self, text: str) -> None:
        say(text)

    def close(self) -> None: ...

    def leave(self) -> None: ...


def describe(event: Event) -> str:
    """An event on one line; empty for those that plain progress leaves out."""
    data = event.data
    match event.kind:
        case "run-start":
            return f"run {data['run']}: {data['task']} ({data['runner']}) on {data['model']}"
        case "tool-start":
            return f"  {call_in_words(data['name'], data['arguments'])}"
        case "tool-result" if data["is_error"]:
            return f"    {shorten(data['content'], 100)}"
        case "retry":
            return f"  retry {data['number']} in {data['wait_s']:g} s: {shorten(data['message'], 160)}"
        case "notice":
            return f"  told the model ({data['why']}): {shorten(data['text'], 100)}"
        case "compaction":
            return f"  made room: {data['bytes']:,} bytes of older tool outputs removed from the history"
        case "call":
            return step_line(data)
    return ""


def step_line(data: Mapping[str, Any]) -> str:
    """A settled call: which step, its tokens, its cost."""
    step = data["call"].split(".")[1]
    cost = cost_in_words(format_usd(data["cost_nusd"]), data["cost_state"], 1)
    if data["status"] != "ok":
        failure = f" ({data['failure']})" if data["failure"] else ""
        return f"step {step}: call {data['status']}{failure}, {cost}"
    return f"step {step}: {tokens_in_words(data['usage'])}, {cost}"
