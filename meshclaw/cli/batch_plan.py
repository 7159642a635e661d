"""`meshclaw run --dry-run` of several runs: all of them in short, the first in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshclaw.cli.dry_run import page
from meshclaw.cli.output import emit
from meshclaw.cli.session import emit_json
from meshclaw.cli.words import shorten
from meshclaw.pricing import dollars

if TYPE_CHECKING:
    from meshclaw.app import App, RunOptions
    from meshclaw.app.families import Family
    from meshclaw.batches.plan import Plan

LISTED = 40


async def show_plan(app: App, family: Family, plan: Plan, options: RunOptions, *, as_json: bool) -> None:
    """Prints what a batch would do and could cost; spends nothing."""
    from meshclaw.app.describing import describe_batch

    found = await describe_batch(app, family, plan, options)
    if as_json:
        emit_json(found)
        return
    names = [f"  {shorten(item['name'], 100)}" for item in found["items"][:LISTED]]
    if found["runs"] > LISTED:
        names.append(f"  and {found['runs'] - LISTED:,} more")
    limit = "no limit" if found["batch_budget_usd"] is None else f"${found['batch_budget_usd']}"
    most = found["batch_usd_at_most"]
    cost = "unknown" if most is None else dollars(most)
    emit(
        "\n\n".join(
            [
                f"runs ({found['runs']:,}):\n" + "\n".join(names),
                f"the first of {found['task']}:",
                page(found["first"]),
                f"all runs together: cost at most {cost} (budget: {limit})",
            ]
        )
    )
