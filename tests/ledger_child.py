"""A process that appends to a ledger: `ledger_child.py PATH NAME COUNT TASKS`.

Appends COUNT entries from TASKS tasks at once and says each number on stdout once it is durable.
Imports nothing of MeshClaw but the ledger, so that many of these start quickly.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from meshclaw.ledger.entry import Reserve
from meshclaw.ledger.file import FileLedger


async def main(path: Path, name: str, count: int, tasks: int) -> None:
    async def work(first: int) -> None:
        for number in range(first, count, tasks):
            await ledger.append(entry(name, number))
            os.write(1, f"{number}\n".encode())

    async with FileLedger(path, lock_timeout=120) as ledger:
        await asyncio.gather(*(work(first) for first in range(tasks)))


def entry(name: str, number: int) -> Reserve:
    at = "2026-11-20T10:00:00.000Z"
    return Reserve(
        at=at,
        call=f"{name}/{number}",
        run=name,
        attempt=1,
        step=number,
        model="acme/large",
        tokens=number,
        cost_nusd=number,
        expires=at,
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
