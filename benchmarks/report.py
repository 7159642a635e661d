"""How fast a report is made from a ledger that was never read before.

Usage: python benchmarks/report.py [ENTRIES]    (default 200000)

Writes a ledger of that many entries (a reserve and a call each, a run entry after every ten calls),
then reads and folds it, groups the facts by day, task and model, and verifies the chain.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from ledger_append import ENTRY

from meshclaw.ledger.chain import verify
from meshclaw.ledger.codec import GENESIS, encode, seal
from meshclaw.ledger.entry import Entry, Reserve, RunEnd
from meshclaw.ledger.file import read_entries
from meshclaw.ledger.fold import fold
from meshclaw.reports import report

START = datetime(2026, 1, 1, tzinfo=UTC)


def entries() -> Iterator[Entry]:
    number = 0
    while True:
        at = f"{START + timedelta(minutes=number):%Y-%m-%dT%H:%M:%S}.000Z"
        run, model = f"run-{number // 10}", f"acme/m{number % 3}"
        call = f"{run}/1.{number % 10}.0"
        yield Reserve(
            at=at,
            call=call,
            run=run,
            attempt=1,
            step=1,
            model=model,
            tokens=9000,
            cost_nusd=5000000,
            expires=at,
        )
        yield replace(ENTRY, at=at, call=call, run=run, model=model)
        if number % 10 == 9:
            yield RunEnd(
                at=at,
                run=run,
                task=f"task-{number % 7}",
                task_digest="0" * 64,
                params_digest="0" * 64,
                status="succeeded",
                outcome="accepted",
                model=model,
                runner="agent",
                project="shop",
                who="ada",
                host="desk",
                started=at,
            )
        number += 1


def write(path: Path, count: int) -> None:
    digest = GENESIS
    with path.open("wb") as file:
        for _, entry in zip(range(count), entries(), strict=False):
            digest, line = seal(digest, encode(entry))
            file.write(line)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        write(path, count)
        print(f"{count} entries, {path.stat().st_size / count:.0f} bytes each")
        start = perf_counter()
        facts = fold(read_entries(path, check=True), datetime.now(UTC))
        folded = perf_counter()
        table = report(facts, ["day", "task", "model"], tz=UTC)
        reported = perf_counter()
        found = verify(path)
        verified = perf_counter()
    if not found.ok or table.totals.calls != len(facts.calls):
        raise SystemExit("the ledger or the report is wrong")
    print(f"read and fold   {count / (folded - start):8.0f} entries/s")
    print(f"group           {count / (reported - folded):8.0f} entries/s, {len(table.rows)} rows")
    print(f"verify          {count / (verified - reported):8.0f} entries/s")


if __name__ == "__main__":
    main()
