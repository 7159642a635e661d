"""Draws docs/report.svg: `meshclaw report` in a terminal, over a made-up week of runs.

python docs/report_picture.py
"""

from __future__ import annotations

import os
import pty
import random
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import anyio
from rich.console import Console
from rich.text import Text

from meshclaw.ledger.entry import Call, Reserve, RunEnd
from meshclaw.ledger.file import FileLedger
from meshclaw.metering import timestamp
from meshclaw.pricing import Prices
from meshclaw.usage import Usage

WEEK = (
    # task, runner, model, runs, calls a run, tokens: new, cached, out
    ("review-diff", "agent", "anthropic/claude-sonnet-5-5", 14, 6, 3_100, 9_400, 640),
    ("fix-tests", "agent", "anthropic/claude-opus-5-5", 5, 11, 2_600, 14_800, 520),
    ("commit-message", "prompt", "openai/gpt-6-luna", 41, 1, 1_900, 0, 60),
    ("extract", "prompt", "local/qwen2.5-coder-1.5b", 120, 1, 420, 0, 110),
    ("changelog", "prompt", "anthropic/claude-haiku-5-5", 2, 1, 7_800, 0, 450),
)
WIDTH = 92


async def make_ledger(path: Path, now: datetime) -> None:
    """Every run of the week with its calls, priced as the published prices have it."""
    chance, prices, number = random.Random(7), Prices(), 0
    async with FileLedger(path) as ledger:
        for task, runner, model, runs, calls, new, cached, out in WEEK:
            for _ in range(runs):
                number += 1
                at = now - timedelta(minutes=chance.randrange(7 * 24 * 60))
                failed = chance.random() < 0.06
                await append_run(
                    ledger,
                    prices,
                    at,
                    f"run-{number}",
                    task,
                    runner,
                    model,
                    calls,
                    failed,
                    (new, cached, out),
                )


async def append_run(
    ledger: FileLedger,
    prices: Prices,
    at: datetime,
    run: str,
    task: str,
    runner: str,
    model: str,
    calls: int,
    failed: bool,
    tokens: tuple[int, int, int],
) -> None:
    provider, _, name = model.partition("/")
    new, cached, out = tokens
    usage = Usage(input=new, cache_read=cached, output=out)
    cost = 0 if provider == "local" else prices.cost(provider, name, usage, at=at).nusd
    stamp = timestamp(at)
    entries: list[Reserve | Call | RunEnd] = []
    for step in range(1, calls + 1):
        call = f"{run}/1.{step}.0"
        entries.append(
            Reserve(
                at=stamp,
                call=call,
                run=run,
                attempt=1,
                step=step,
                model=model,
                tokens=20_000,
                cost_nusd=0,
                expires=stamp,
            )
        )
        entries.append(
            Call(
                at=stamp,
                call=call,
                run=run,
                attempt=1,
                step=step,
                status="ok",
                provider=provider,
                model=model,
                input=new,
                cache_read=cached,
                cache_write={},
                output=out,
                reasoning=0,
                usage_source="final",
                cost_nusd=cost,
                cost_state="priced",
            )
        )
    entries.append(
        RunEnd(
            at=stamp,
            run=run,
            task=task,
            task_digest="0" * 64,
            params_digest="0" * 64,
            status="failed" if failed else "succeeded",
            outcome="unchecked",
            steps=calls,
            calls=calls,
            input=new * calls,
            cache_read=cached * calls,
            output=out * calls,
            cost_nusd=None if cost is None else cost * calls,
            model=model,
            runner=runner,
            project="/home/ana/shop",
            who="ana",
            host="desk",
            started=stamp,
        )
    )
    await ledger.append(*entries)


def in_terminal(command: list[str], environment: dict[str, str]) -> str:
    """What `command` shows in a terminal of WIDTH columns."""
    reading, writing = pty.openpty()
    process = subprocess.Popen(
        command, stdout=writing, stdin=writing, stderr=subprocess.DEVNULL, env=environment
    )
    os.close(writing)
    shown = b""
    try:
        while piece := os.read(reading, 65_536):
            shown += piece
    except OSError:
        pass
    os.close(reading)
    process.wait()
    return shown.decode().replace("\r\n", "\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Path(folder) / "ledger.jsonl"
        anyio.run(make_ledger, ledger, datetime.now(UTC))
        environment = {
            **os.environ,
            "MESHCLAW_LEDGER": str(ledger),
            "COLUMNS": str(WIDTH),
            "TERM": "xterm-256color",
        }
        shown = in_terminal([sys.executable, "-m", "meshclaw", "report", "--by", "task"], environment)
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    console.print(Text.from_ansi("$ meshclaw report --by task\n" + shown.rstrip()))
    picture = console.export_svg(title="meshclaw", unique_id="report")
    # rich points to a font on a server; a picture should load nothing.
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    (Path(__file__).parent / "report.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
