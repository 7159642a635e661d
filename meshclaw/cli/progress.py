"""What a person sees of a run while it happens, when standard error is no terminal: plain lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from meshclaw.cli.output import say
from meshclaw.cli.proposed import in_short
from meshclaw.cli.words import call_in_words, cost_in_words, judged_by, shorten, tokens_in_words
from meshclaw.pricing import format_usd
from meshclaw.runs import Event, is_judges


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
        case "proposal":
            return f"    proposed, not run: {in_short(data['command'])}"
        case "tool-result" if data["is_error"]:
            return f"    {shorten(data['content'], 100)}"
        case "retry":
            return f"  retry {data['number']} in {data['wait_s']:g} s: {shorten(data['message'], 160)}"
        case "notice":
            return f"  told the model ({data['why']}): {shorten(data['text'], 100)}"
        case "compaction":
            return f"  made room: {data['bytes']:,} bytes of older tool outputs removed from the history"
        case "check":
            reason = f": {in_short(data['reason'])}" if data["reason"] else ""
            return f"check {in_short(data['check'])}{judged_by(data)}: {data['status']}{reason}"
        case "attempt":
            return f"attempt {data['number']} on {data['model']}, told what was wrong"
        case "reused":
            return f"the same work was accepted in run {data['run']}"
        case "done-again":
            return f"what run {data['run']} had done is done again: {shorten(data['reason'], 160)}"
        case "call":
            return step_line(data)
    return ""


def step_of(call: str) -> str:
    """Which step a call's id belongs to; `judge` for one that a check has made."""
    return "judge" if is_judges(call) else f"step {call.split('.')[1]}"


def step_line(data: Mapping[str, Any]) -> str:
    """A settled call: which step, its tokens, its cost."""
    step = step_of(data["call"])
    cost = cost_in_words(format_usd(data["cost_nusd"]), data["cost_state"], data["usage"]["total"])
    if data["status"] != "ok":
        failure = f" ({data['failure']})" if data["failure"] else ""
        return f"{step}: call {data['status']}{failure}, {cost}"
    return f"{step}: {tokens_in_words(data['usage'])}, {cost}"
