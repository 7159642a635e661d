"""What a run's checks did not see as the agent had left it, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from glob import escape
from typing import Any

MOST_NAMED = 5
MADE_OF = "the agent changed what checks are made of"


def unseen(record: Mapping[str, Any]) -> Iterator[str]:
    """Lines for the end of a run; usually there are none."""
    from meshclaw.isolation import is_cache
    from meshclaw.workspace import shown_name

    # A record of an older version may lack any of this.
    changed = record.get("changed_by_agent") or ()
    if changed:
        yield f"{MADE_OF}: {_some([*map(shown_name, changed)])}"
        globs = _some([json.dumps(f"!{escape(path)}", ensure_ascii=False) for path in changed])
        where = f"protect in {record['task_source']}"
        yield f"they have to pass with it as it was; to show them only the change, add to {where}: {globs}"
    left_out = (record.get("patch") or {}).get("left_out", ())
    names = [shown_name(path) for path in left_out if not is_cache(path)]
    if names:
        why = f"; `meshclaw runs diff {record['run']}` says why"
        unchecked = ", so checks did not see it" if record["checks"] else ""
        yield f"not in the patch{unchecked}: {_some(names)}{why}"


def changed_in(items: Sequence[Mapping[str, Any]]) -> str | None:
    """The same of a batch's runs, on one line."""
    names = [item["name"] for item in items if item.get("changed_by_agent")]
    return f"{MADE_OF} in {_some(names)}; see meshclaw runs show RUN" if names else None


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join([*names[:MOST_NAMED], *([f"and {more:,} more"] if more > 0 else ())])
