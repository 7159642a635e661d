"""How a run is written down: its record (`run.json`, `run --json`) and its `run` entry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from meshclaw.dispatch.attempts import Conclusion
from meshclaw.dispatch.delegation import Delegation
from meshclaw.errors import ProblemsError
from meshclaw.ledger.entry import Call, RunEnd
from meshclaw.metering import timestamp, total_cost, total_usage
from meshclaw.pricing import format_usd
from meshclaw.runs import Candidate, read_transcript
from meshclaw.usage import UNKNOWN

EXACT = frozenset(
    {
        *(
            "run",
            "task",
            "status",
            "outcome",
            "model",
            "runner",
            "cost_usd",
            "cost_state",
            "usage",
            "sandbox",
        ),
        *("started_at", "resumed_at", "reused", "batch", "task_digest", "work_digest", "git_commit"),
        *("directory", "project", "ledger", "patch", "undelivered"),
    }
)
"""Keys of a record that are not redacted: words and numbers of ours, and what has to be found again."""


def redacted(record: Mapping[str, Any], redact: Callable[[Any], Any]) -> dict[str, Any]:
    """A record without secrets in what others wrote."""
    return {key: value if key in EXACT else redact(value) for key, value in record.items()}


def redacted_candidate(candidate: Candidate, redact: Callable[[Any], Any]) -> Candidate:
    """A candidate without secrets, what was denied each once."""
    return replace(
        candidate,
        text=redact(candidate.text),
        value=redact(candidate.value),
        reason=redact(candidate.reason),
        denied=tuple(dict.fromkeys(redact(candidate.denied))),
    )


def marker(runs: Path, run: str) -> Path:
    """The file that says that a run is under way; it goes when the run's end is written."""
    return runs.parent / "active" / run


def mark_alive(runs: Path, run: str) -> None:
    """Makes a run's marker. Raises OSError."""
    alive = marker(runs, run)
    alive.parent.mkdir(mode=0o700, exist_ok=True)
    alive.touch(mode=0o600)


def run_record(
    delegation: Delegation,
    conclusion: Conclusion,
    *,
    run: str,
    attempt: int,
    steps: int,
    calls: Sequence[Call],
    started: datetime,
    seconds: float,
    directory: Path,
    ledger_file: str | None,
    output_file: str | None,
    patch: Mapping[str, Any] | None,
    problems: Sequence[str],
    over_reserve: bool,
    proposals: Sequence[Mapping[str, Any]],
    changed_by_agent: Sequence[str] | None,
    resumed: datetime | None,
    reused: str | None,
    undelivered: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A run as `run --json` prints it; keys are only ever added."""
    task, cost, candidate = delegation.task, total_cost(calls), conclusion.candidate
    rungs = delegation.rungs
    return {
        "run": run,
        "task": task.name,
        "status": str(candidate.status),
        "outcome": str(conclusion.outcome),
        "exit": int(conclusion.exit_code),
        "reason": candidate.reason,
        "result": candidate.text if candidate.value is None else candidate.value,
        "output_file": output_file,
        "model": rungs[min(attempt, len(rungs)) - 1].model,
        "runner": task.runner,
        "attempts": attempt,
        "steps": steps,
        "calls": len(calls),
        "usage": total_usage(calls).as_dict(),
        "cost_usd": format_usd(cost.nusd),
        "cost_state": cost.state,
        "checks": [result.as_dict() for result in conclusion.checks],
        "denied": list(candidate.denied),
        "duration_s": round(seconds, 3),
        "started_at": timestamp(started),
        "directory": str(directory),
        "problems": list(problems),
        "over_reserve": over_reserve,
        "project": str(delegation.project),
        "task_source": task.source,
        "task_digest": task.digest,
        "params": dict(delegation.params),
        "git_commit": delegation.git_commit,
        "accepted_risk": delegation.accepted_risk,
        "batch": delegation.batch,
        "proposals": list(proposals),
        "sandbox": None if delegation.sandbox is None else delegation.sandbox.name,
        "resumed_at": timestamp(resumed) if resumed else None,
        "reused": reused,
        "undelivered": undelivered,
        "patch": patch,
        "changed_by_agent": None if changed_by_agent is None else list(changed_by_agent),
        "work_digest": delegation.work_digest,
        "ledger": ledger_file,
    }


def under_way(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run that has not ended: what it comes to is unknown, should its process be killed."""
    unknown: dict[str, Any] = dict.fromkeys(("exit", "steps", "calls", "cost_usd"))
    return {**record, **unknown, "usage": UNKNOWN.as_dict(), "cost_state": "unknown"}


def proposed(transcript: Path) -> list[dict[str, Any]]:
    """The commands that were proposed, numbered from 1 in order; each once, however often it was proposed.

    Of a damaged transcript, those before the damage.
    """
    commands: dict[str, None] = {}
    with suppress(FileNotFoundError, ProblemsError):
        for event in read_transcript(transcript):
            if event.kind == "proposal":
                commands[str(event.data.get("command"))] = None
    return [{"number": number, "command": command} for number, command in enumerate(commands, 1)]


def run_entry(
    record: Mapping[str, Any], *, at: str, who: str, host: str, result: str, cost_nusd: int | None
) -> RunEnd:
    """The `run` entry of a run's record."""
    usage = record["usage"]
    return RunEnd(
        at=at,
        run=record["run"],
        task=record["task"],
        task_digest=record["task_digest"],
        params_digest=_digest(json.dumps(record["params"], sort_keys=True)),
        status=record["status"],
        outcome=record["outcome"],
        reason=record["reason"],
        attempts=record["attempts"],
        checks=tuple(record["checks"]),
        work_digest=record.get("work_digest") or None,
        reused=record.get("reused"),
        steps=record["steps"],
        calls=record["calls"],
        input=usage["input"],
        cache_read=usage["cache_read"],
        cache_write=usage["cache_write"],
        output=usage["output"],
        reasoning=usage["reasoning"],
        cost_nusd=cost_nusd,
        cost_state=record["cost_state"],
        result_digest=_digest(result) if result else None,
        model=record["model"],
        runner=record["runner"],
        project=record["project"],
        git_commit=record["git_commit"],
        # A run that an older version left behind has no such key.
        accepted_risk=record.get("accepted_risk"),
        batch=record.get("batch"),
        who=who,
        host=host,
        milliseconds=round(record["duration_s"] * 1000),
        started=record["started_at"],
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
