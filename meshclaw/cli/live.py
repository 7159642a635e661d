"""The live view of a run in a terminal, on standard error.

What has happened scrolls by: steps, tool calls, diffs. Below it stay the answer as it arrives, and one
line that counts steps, tokens, money and time. When the run ends only what scrolled by remains.
"""

from __future__ import annotations

import os
from time import monotonic
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from meshclaw.cli.output import shown
from meshclaw.cli.progress import describe
from meshclaw.cli.tally import Tally
from meshclaw.cli.words import bounded, call_in_words, shorten
from meshclaw.runs import Event, is_judges

TAIL_LINES = 6
DIFF_LINES = 40
KEPT_TEXT = 4_000
"""Characters of a streaming answer that are kept for the view."""


class LiveView:
    """A View. Data reaches the terminal cleaned and as `Text`, never as markup."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = monotonic()
        self._step = 0
        self._tally = Tally()
        self._text = ""
        self._doing = "asking the model"
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
        )
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def leave(self) -> None:
        # Rich's own way takes locks that the interrupted code may hold.
        os.write(2, b"\r\x1b[K\x1b[?25h")

    def note(self, text: str) -> None:
        self._print(Text(shown(text), style="yellow"))

    def listen(self, event: Event) -> None:
        data = event.data
        match event.kind:
            case "run-start":
                line = Text.assemble(
                    (shorten(data["task"], 60), "bold"),
                    (f" \u00b7 {data['runner']} \u00b7 {shorten(data['model'], 60)}", "dim"),
                )
                self._print(line)
            case "request":
                judging = is_judges(data["call"])
                self._step = self._step if judging else int(data["call"].split(".")[1])
                self._text = ""
                self._doing = "waiting for the judge" if judging else "waiting for the model"
            case "text":
                self._text = (self._text + data["delta"])[-KEPT_TEXT:]
                self._doing = "answering"
            case "response":
                self._say_text(data["response"]["message"])
            case "call":
                self._count(data)
            case "tool-start":
                self._doing = call_in_words(data["name"], data["arguments"], 50)
                call = call_in_words(data["name"], data["arguments"], max(20, self._console.width - 4))
                self._print(Text.assemble(("  \u2192 ", "cyan"), call))
            case "tool-result":
                self._doing = "asking the model"
                self._show_result(data)
            case "check" if data["status"] == "passed":
                self._print(Text(describe(event), style="green"))
            case (
                "retry"
                | "compaction"
                | "notice"
                | "proposal"
                | "check"
                | "attempt"
                | "reused"
                | "done-again"
            ):
                self._print(Text(describe(event), style="yellow"))
            case _:
                pass

    def _say_text(self, message: Any) -> None:
        """Keeps what the model said before it used a tool; the last answer is the result itself."""
        parts = message["parts"]
        said = "".join(part["text"] for part in parts if "text" in part).strip()
        if said and any("tool_call" in part for part in parts):
            self._print(Text(bounded(shown(said), TAIL_LINES), style="dim"))
        self._text = ""

    def _count(self, data: Any) -> None:
        self._tally.take(data)
        if data["status"] != "ok":
            self._print(Text(describe(Event("call", data)), style="yellow"))

    def _show_result(self, data: Any) -> None:
        if data["is_error"]:
            width = max(20, self._console.width - 6)
            self._print(Text("    " + shorten(data["content"], width), style="red"))
        elif data.get("display"):
            self._print(diff_text(bounded(shown(data["display"]), DIFF_LINES), indent="    "))

    def _print(self, renderable: RenderableType) -> None:
        try:
            self._console.print(renderable, soft_wrap=False)
        except OSError:
            # A terminal that went away must not end the run.
            return

    def _render(self) -> RenderableType:
        seconds = int(monotonic() - self._started)
        facts = [
            f"step {self._step}" if self._step else "starting",
            *self._tally.words(),
            f"{seconds // 60}:{seconds % 60:02d}",
        ]
        self._spinner.text = Text.assemble(
            (" \u00b7 ".join(facts), "bold"),
            (f"  {shorten(self._doing, 50)}", "dim"),
            no_wrap=True,
            overflow="ellipsis",
        )
        tail = shown(self._text).rstrip().splitlines()[-TAIL_LINES:]
        if not tail:
            return self._spinner
        return Group(Text("\n".join(tail), style="dim", no_wrap=True, overflow="ellipsis"), self._spinner)


def diff_text(diff: str, indent: str = "") -> Text:
    """A unified diff in colours; `diff` is cleaned already."""
    text = Text()
    for line in diff.splitlines():
        style = "dim"
        if line.startswith("@@"):
            style = "cyan"
        elif line.startswith("+") and not line.startswith("+++"):
            style = "green"
        elif line.startswith("-") and not line.startswith("---"):
            style = "red"
        text.append(f"{indent}{line}\n", style)
    text.rstrip()
    return text
