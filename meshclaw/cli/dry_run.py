"""`meshclaw run --dry-run`: what would be sent, what it may do, and what it can cost at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshclaw.cli.output import emit
from meshclaw.cli.session import emit_json
from meshclaw.cli.words import dollars, seconds_in_words


def show(plan: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints a plan as App.describe gives it."""
    if as_json:
        emit_json(plan)
        return
    tools = [f"  {tool['name']}: {tool['description']}" for tool in plan["tools"]]
    sections = [
        f"model: {plan['model']}\nrunner: {plan['runner']}",
        _section("system", plan["system"]),
        _section("prompt", plan["prompt"]),
        "tools:\n" + "\n".join(tools) if tools else "tools: none",
        _policy(plan["policy"]),
        _cost(plan),
    ]
    emit("\n\n".join(section for section in sections if section))


def _section(name: str, text: str) -> str:
    return (
        f"{name}:\n" + "\n".join(f"  {line}".rstrip() for line in text.rstrip().splitlines())
        if text
        else ""
    )


def _policy(policy: Mapping[str, Any]) -> str:
    def listed(patterns: Any) -> str:
        return ", ".join(patterns) if patterns else "nothing"

    commands = listed(policy["run"]) if policy["shell"] else "nothing (no sandbox; --no-sandbox allows it)"
    return (
        "policy:\n  reads: the project\n"
        f"  writes: {listed(policy['write'])}\n  runs: {commands}\n  network: {listed(policy['network'])}"
    )


def _cost(plan: Mapping[str, Any]) -> str:
    budget = plan["budget"]
    limits = [
        shown
        for shown, limit in (
            (f"${budget['usd']}", budget["usd"]),
            (f"{budget['tokens'] or 0:,} tokens", budget["tokens"]),
            (f"{budget['steps']} steps", budget["steps"]),
            (seconds_in_words(budget["time_s"] or 0), budget["time_s"]),
        )
        if limit is not None
    ]
    unpriced = plan["cost_state"] == "unpriced"
    first = "unknown: the model has no known price" if unpriced else dollars(plan["first_call_usd_at_most"])
    whole = "unknown" if plan["run_usd_at_most"] is None else dollars(plan["run_usd_at_most"])
    return "\n".join(
        [
            f"budget: {', '.join(limits) or 'none'}",
            f"first call: at most {plan['input_tokens_at_most']:,} tokens in, {plan['max_output']:,} out,"
            f" cost at most {first}",
            f"whole run: cost at most {whole}",
            "nothing was sent, nothing was spent",
        ]
    )
