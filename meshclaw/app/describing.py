"""What a run would do and could cost at most, without doing it."""

from __future__ import annotations

from typing import Any

from meshclaw.dispatch import Delegation, House
from meshclaw.dispatch.dispatcher import job_of
from meshclaw.metering.bounds import input_bound
from meshclaw.policies import TaskPolicy
from meshclaw.pricing import format_usd, to_nusd


def describe(delegation: Delegation, house: House) -> dict[str, Any]:
    """The object that `run --dry-run --json` prints: the exact first request, and bounds on its cost.

    `run_usd_at_most` is what the whole run can cost: nothing, or its budget in USD, since every call is
    reserved before it is made; null when there is no such budget or the model has no price.
    """
    specs = tuple(tool.spec for tool in delegation.tools)
    request = delegation.runner.first_request(job_of(delegation), specs, delegation.provider)
    tokens = input_bound(request, None, delegation.provider.overhead_tokens)
    provider = delegation.provider.name
    first = house.prices.bound(provider, request.model, tokens, request.max_output, at=house.now())
    budget, policy = delegation.budget, delegation.policy
    limit = None if budget.usd is None else to_nusd(budget.usd)
    whole = None if first is None else 0 if first == 0 else limit
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
            "shell": delegation.sandbox is not None,
        },
        "max_output": request.max_output,
        "input_tokens_at_most": tokens,
        "first_call_usd_at_most": format_usd(first),
        "run_usd_at_most": format_usd(whole),
        "cost_state": "unpriced" if first is None else "priced",
        "budget": {
            "usd": None if budget.usd is None else str(budget.usd),
            "tokens": budget.tokens,
            "steps": budget.steps,
            "time_s": budget.time,
        },
        "output_file": delegation.output_file,
    }
