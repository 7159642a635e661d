"""How a run is written down: its record (`run.json`, `run --json`) and its `run` entry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from meshclaw.dispatch.delegation import Delegation
from meshclaw.errors import ExitCode
from meshclaw.ledger.entry import Call, RunEnd
from meshclaw.metering import timestamp, total_cost, total_usage
from meshclaw.pricing import format_usd
from meshclaw.runs import Candidate, Outcome


def marker(runs: Path, run: str) -> Path:
    """The file that says that a run is under way; it goes when the run's end is written."""
    return runs.parent / "active" / run


def run_record(
    delegation: Delegation,
    candidate: Candidate,
    *,
    run: str,
    exit_code: ExitCode,
    steps: int,
    calls: Sequence[Call],
    started: datetime,
    seconds: float,
    directory: Path,
    output_file: str | None,
    problems: Sequence[str],
    over_reserve: bool,
) -> dict[str, Any]:
    """A run as `run --json` prints it; keys are only ever added."""
    task, cost = delegation.task, total_cost(calls)
    return {
        "run": run,
        "task": task.name,
        "status": str(candidate.status),
        "outcome": str(Outcome.UNCHECKED),
        "exit": int(exit_code),
        "reason": candidate.reason,
        "result": candidate.text if candidate.value is None else candidate.value,
        "output_file": output_file,
        "model": delegation.model,
        "runner": task.runner,
        "attempts": 1,
        "steps": steps,
        "calls": len(calls),
        "usage": total_usage(calls).as_dict(),
        "cost_usd": format_usd(cost.nusd),
        "cost_state": cost.state,
        "checks": [],
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
    }


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
        who=who,
        host=host,
        milliseconds=round(record["duration_s"] * 1000),
        started=record["started_at"],
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
