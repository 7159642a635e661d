"""What a run would do and could cost at most, without doing it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from meshclaw.app.batching import Maker, batch_limits
from meshclaw.app.families import Family
from meshclaw.app.options import RunOptions
from meshclaw.batches.plan import Plan
from meshclaw.budgets import Budget, BudgetMeter
from meshclaw.dispatch import Delegation, House, job_of
from meshclaw.errors import BudgetError
from meshclaw.metering.bounds import CallPrices, InputBound
from meshclaw.policies import TaskPolicy
from meshclaw.pricing import format_usd, to_nusd

if TYPE_CHECKING:
    from meshclaw.app.app import App
    from meshclaw.checks.base import Check


def describe(delegation: Delegation, house: House) -> dict[str, Any]:
    """The object that `run --dry-run --json` prints: the exact first request, and bounds on its cost.

    `run_usd_at_most` is what the whole run can cost: nothing, or its budget in USD, since every call is
    reserved before it is made; null when there is no such budget or the model has no price.
    `first_call_refused` says why the budget would not let even the first call be made.
    """
    specs = tuple(tool.spec for tool in delegation.tools)
    request = delegation.runner.first_request(job_of(delegation), specs, delegation.provider)
    tokens = InputBound(delegation.provider.overhead_tokens).of(request)
    provider = delegation.provider.name
    prices = CallPrices(house.prices, provider, request.model, house.now())
    budget, policy = delegation.budget, delegation.policy
    most, refused = _first_call(budget, tokens, request.max_output, prices)
    first = prices.bound(tokens, most)
    limit = None if budget.usd is None else to_nusd(budget.usd)
    free = first == 0 and not delegation.stronger and not delegation.judges
    whole = 0 if free or refused else None if first is None else limit
    return {
        "task": delegation.task.name,
        "model": delegation.model,
        "runner": delegation.task.runner,
        "system": request.system,
        "prompt": delegation.prompt,
        "tools": [
            {"name": spec.name, "description": spec.description, "parameters": dict(spec.parameters)}
            for spec in specs
        ],
        "schema": delegation.task.output.schema,
        "policy": {
            "write": list(policy.write) if isinstance(policy, TaskPolicy) else [],
            "run": list(policy.run) if isinstance(policy, TaskPolicy) else [],
            "network": list(policy.network) if isinstance(policy, TaskPolicy) else [],
            "propose": list(policy.propose) if isinstance(policy, TaskPolicy) else [],
            "shell": delegation.sandbox is not None,
            "sandbox": delegation.sandbox.name if delegation.sandbox is not None else None,
        },
        "checks": [_check(delegation, one) for one in delegation.checks],
        "risks": {**delegation.risks, "accepted": delegation.accepted_risk},
        "max_output": most,
        "input_tokens_at_most": tokens,
        "first_call_usd_at_most": format_usd(first),
        "first_call_refused": refused,
        "run_usd_at_most": format_usd(whole),
        "cost_state": "unpriced" if first is None else "priced",
        "budget": {
            "usd": None if budget.usd is None else str(budget.usd),
            "tokens": budget.tokens,
            "steps": budget.steps,
            "time_s": budget.time,
        },
        "output_file": delegation.output_file,
        "problems": list(delegation.problems),
    }


def _first_call(budget: Budget, tokens: int, most: int, prices: CallPrices) -> tuple[int, str | None]:
    """The first call's output limit as the budget leaves it, and why it would not be made at all."""
    meter = BudgetMeter(budget)
    try:
        meter.step()
        return meter.reserve(tokens, most, prices).max_output, None
    except BudgetError as error:
        return most, str(error)


def _check(delegation: Delegation, check: Check) -> dict[str, str]:
    judge = delegation.judge_of(check)
    said = {"kind": check.kind, "check": check.label}
    return {**said, "model": judge.model} if judge else said


async def describe_batch(app: App, family: Family, plan: Plan, options: RunOptions) -> dict[str, Any]:
    """The object that `run --dry-run --json` prints for several runs: all of them, the first as `describe`
    has it, and what they can cost at most together.

    Where the first needs the results of others, their names stand for them.
    """
    maker = Maker(app, family, options)
    meter, _ = batch_limits(app, options)
    first = next(item for item in plan.items if plan.asked(item))
    results = {need.input: f"(the result of '{need.task}')\n" for need in plan.task.needs}
    async with maker.make(first, results, None) as delegation:
        described = describe(delegation, app.house(lambda event: None))
    single, limit = described["run_usd_at_most"], meter.budget.usd
    most = [Decimal(single) * len(plan.items)] if single is not None else []
    most += [limit] if limit is not None else []
    return {
        "task": plan.task.name,
        "runs": len(plan.items),
        "items": [
            {"item": item.number, "name": plan.name(item), "task": item.task, "params": dict(item.params)}
            for item in plan.items
        ],
        "first": described,
        "batch_usd_at_most": str(min(most)) if most and single is not None else None,
        "batch_budget_usd": None if limit is None else str(limit),
    }
