"""What came of a batch: results on standard output, one summary on standard error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshclaw.batches.handing import heading, result_text
from meshclaw.batches.records import is_good, word_of
from meshclaw.cli.batch_progress import good
from meshclaw.cli.guarded import changed_in
from meshclaw.cli.output import aligned, emit_exact, say, say_error
from meshclaw.cli.words import cost_in_words, count, seconds_in_words, shorten, tokens_in_words
from meshclaw.dispatch import may_resume

ALL = 20
"""Of a batch with more items only those are listed that did not end well."""
MOST = 40
"""The most items that are listed."""

Record = Mapping[str, Any]


def print_results(record: Record) -> None:
    """The results that may be used: of a matrix each under a line that says whose it is."""
    # Of a run whose folder is gone the result is too.
    items = [item for item in record["items"] if is_good(item) and item["result"] is not None]
    if record["run"] is not None:
        emit_exact("".join(result_text(item) for item in items))
        return
    blocks = (f"{heading(item['name'])}\n{result_text(item).rstrip()}\n" for item in items)
    emit_exact("\n".join(blocks))


def print_summary(record: Record, *, quiet: bool) -> None:
    every = [*record["needs"], *record["items"]]
    bad = [item for item in every if not good(item) and item["exit"] is not None]
    waiting = [item for item in every if item["exit"] is None]
    if quiet:
        for item in bad[:MOST]:
            say_error(_why(item))
        if waiting:
            say_error(_not_started(waiting))
        return
    listed = every if len(every) <= ALL else bad
    if listed:
        say("\n".join(_table(listed[:MOST])))
    if len(listed) > MOST:
        say(f"and {len(listed) - MOST:,} more that did not end well: --json has them all")
    if waiting:
        say(_not_started(waiting), "33")
    say(_totals(record, every), "31;1" if record["exit"] else "32")
    if changed := changed_in(every):
        say(changed, "33")
    if patches := _patches(every):
        say(patches)
    if any(_is_left(item) for item in every):
        say(f"go on with what is left: meshclaw runs resume {record['batch']}", "33")
    say(f"batch {record['batch']} in {record['directory']}", "2")


def _table(items: Sequence[Record]) -> list[str]:
    rows = [["item", "outcome", "steps", "tokens", "cost", "time", "run"]]
    notes = []
    for item in items:
        begun = item["run"] is not None
        rows.append(
            [
                shorten(item["name"], 50),
                word_of(item),
                str(item["steps"]) if begun else "",
                count(item["usage"]["total"]) if begun else "",
                _cost(item) if begun else "",
                seconds_in_words(item.get("duration_s") or 0.0) if begun else "",
                item["run"][:13] if begun else "",
            ]
        )
        if not good(item) and item["reason"]:
            notes.append(_why(item))
        said = [one for one in item["problems"] if one != item["reason"]]
        notes += [f"{shorten(item['name'], 50)}: {shorten(one, 160)}" for one in said]
    return [*aligned(rows, right=(2, 3, 4, 5)), *notes]


def _totals(record: Record, every: Sequence[Record]) -> str:
    counts: dict[str, int] = {}
    for item in every:
        counts[word_of(item)] = counts.get(word_of(item), 0) + 1
    ended = ", ".join(f"{number:,} {word}" for word, number in counts.items())
    return " \u00b7 ".join(
        [
            f"{len(every):,} run{'' if len(every) == 1 else 's'}: {ended}",
            tokens_in_words(record["usage"]),
            _cost(record),
            seconds_in_words(record["duration_s"]),
        ]
    )


def _patches(items: Sequence[Record]) -> str | None:
    """How many runs left a patch, and what became of these."""
    patches = [item["patch"] for item in items if (item.get("patch") or {}).get("files")]
    if not patches:
        return None
    applied = sum(bool(patch.get("applied")) for patch in patches)
    branches = sum(bool(patch.get("branch")) for patch in patches)
    done = [f"{applied:,} applied"] if applied else []
    done += [f"{branches:,} on a branch"] if branches else []
    shown = f" ({', '.join(done)})" if done else ""
    return (
        f"patches of {len(patches):,} run{'' if len(patches) == 1 else 's'}{shown}; meshclaw runs diff RUN"
    )


def _why(item: Record) -> str:
    return f"{shorten(item['name'], 50)}: {shorten(item['reason'] or word_of(item), 160)}"


def _not_started(waiting: Sequence[Record]) -> str:
    """Which items have not begun, by why: `12 not started ('a=1' was rejected): a=2, a=3, ...`."""
    by_reason: dict[str, list[str]] = {}
    for item in waiting:
        by_reason.setdefault(item["reason"], []).append(item["name"])
    return "\n".join(
        f"{len(names):,} not started, {reason}: {_some(names)}" for reason, names in by_reason.items()
    )


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(shorten(name, 40) for name in names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def _cost(record: Record) -> str:
    return cost_in_words(record["cost_usd"], record["cost_state"], record["usage"]["total"])


def _is_left(item: Record) -> bool:
    """Whether the item would be begun, or go on, if the batch did."""
    if item["run"] is not None:
        return may_resume(item)
    return not good(item) and not item["blocked"]
