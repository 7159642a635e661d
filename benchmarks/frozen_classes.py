"""What making a frozen, slotted dataclass costs: ours (`meshclaw.frozen`) to the standard library's.

    python benchmarks/frozen_classes.py [--classes 300]

The same classes of six fields are made by both decorators in turn, and the median of each is compared. Also
says how many such classes one `meshclaw run` makes before it asks a model.
"""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import time
from dataclasses import field
from statistics import median
from typing import Any

from meshclaw import frozen

COUNTED = """
import sys
import meshclaw.app.preparing, meshclaw.cli.run, meshclaw.dispatch, meshclaw.ledger.file
import meshclaw.runners.agent
rooms = [room for name, room in sys.modules.items() if name.startswith("meshclaw.")]
classes = {made for room in rooms for made in vars(room).values() if isinstance(made, type)}
print(sum(getattr(made.__setattr__, "__module__", "") == "meshclaw.frozen" for made in classes))
"""


def seconds(dataclass: Any) -> float:
    """CPU seconds that the decorator takes for one class."""

    class Sample:
        """A value."""

        name: str
        text: str
        count: int | None = None
        items: tuple[str, ...] = ()
        found: dict[str, str] = field(default_factory=dict)
        done: bool = False

    before = time.thread_time()
    dataclass(frozen=True, slots=True)(Sample)
    return time.thread_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", type=int, default=300)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(parser.parse_args().classes):
        ours.append(seconds(frozen.dataclass))
        theirs.append(seconds(dataclasses.dataclass))
    print(
        f"a frozen class: {1000 * median(ours):.2f} ms, {median(ours) / median(theirs):.2f} of the standard"
        f" library's {1000 * median(theirs):.2f} ms"
    )
    counted = subprocess.run([sys.executable, "-c", COUNTED], capture_output=True, text=True, check=True)
    print(f"a run makes {counted.stdout.strip()} of them before it asks a model")


if __name__ == "__main__":
    main()
