"""`meshclaw run --dry-run`: what would be sent, what it may do, and what it can cost at most."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from meshclaw.cli.output import emit
from meshclaw.cli.session import emit_json
from meshclaw.cli.words import judged_by, seconds_in_words
from meshclaw.pricing import dollars


def show(plan: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints a plan as App.describe gives it."""
    if as_json:
        emit_json(plan)
    else:
        emit(page(plan))


def page(plan: Mapping[str, Any]) -> str:
    """A plan for a person."""
    tools = [f"  {tool['name']}: {tool['description']}" for tool in plan["tools"]]
    sections = [
        f"model: {plan['model']}\nrunner: {plan['runner']}",
        _section("system", plan["system"]),
        _section("prompt", plan["prompt"]),
        "tools:\n" + "\n".join(tools) if tools else "tools: none",
        _section("output schema", json.dumps(plan["schema"], indent=2) if plan["schema"] else ""),
        _policy(plan["policy"]),
        _risks(plan["risks"]),
        _checks(plan["checks"]),
        _section("problems", "\n".join(plan["problems"])),
        _cost(plan),
    ]
    return "\n\n".join(section for section in sections if section)


def _section(name: str, text: str) -> str:
    return (
        f"{name}:\n" + "\n".join(f"  {line}".rstrip() for line in text.rstrip().splitlines())
        if text
        else ""
    )


def _policy(policy: Mapping[str, Any]) -> str:
    def listed(patterns: Any) -> str:
        return ", ".join(patterns) if patterns else "nothing"

    commands = listed(policy["run"])
    if policy["run"]:
        held = {"none": "not contained: with your rights", None: "nothing: there is no sandbox here"}
        commands += f" ({held.get(policy['sandbox'], 'in ' + str(policy['sandbox']))})"
    lines = {
        "reads": "the project",
        "writes": listed(policy["write"]),
        "runs": commands,
        "network": listed(policy["network"]),
        "proposes": listed(policy["propose"]),
    }
    return "\n".join(["policy:", *(f"  {what}: {allowed}" for what, allowed in lines.items())])


def _risks(risks: Mapping[str, Any]) -> str:
    """The rule of two: all three of these are refused unless they are accepted."""
    lines = [
        f"  {question} {', '.join(risks[name]) or 'no'}"
        for name, question in (
            ("untrusted", "A reads untrusted text?"),
            ("private", "B reaches private data beyond the project?"),
            ("outward", "C acts outward?"),
        )
    ]
    accepted = [f"  all three, accepted: {risks['accepted']}"] if risks["accepted"] else []
    return "\n".join(["risks:", *lines, *accepted])


def _checks(checks: Sequence[Mapping[str, Any]]) -> str:
    if not checks:
        return "done when: nothing is checked"
    return "done when:\n" + "\n".join(f"  {one['check']}{judged_by(one)}" for one in checks)


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
    refused = plan["first_call_refused"] is not None
    whole = "unknown" if plan["run_usd_at_most"] is None else dollars(plan["run_usd_at_most"])
    return "\n".join(
        [
            f"budget: {', '.join(limits) or 'none'}",
            f"first call: at most {plan['input_tokens_at_most']:,} tokens in, {plan['max_output']:,} out,"
            f" cost at most {first}",
            f"whole run: cost at most {whole}",
            *([f"this would end with exit 4: {plan['first_call_refused']}"] if refused else []),
            "nothing was sent, nothing was spent",
        ]
    )
