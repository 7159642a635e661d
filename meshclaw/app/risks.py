"""The rule of two: a run reads untrusted text, reaches private data, acts outward - never all three.

Whoever wrote the text could otherwise have the data sent to them, and no filter of texts prevents it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from meshclaw.app.acceptance import may_run
from meshclaw.app.options import RunOptions
from meshclaw.config import Config
from meshclaw.errors import PolicyError
from meshclaw.frozen import dataclass
from meshclaw.policies import FULL_SHELL, Ceiling
from meshclaw.tasks import Task

KINDS = {
    "untrusted": "it reads untrusted text",
    "private": "it reaches private data beyond the project",
    "outward": "it acts outward",
}


@dataclass(frozen=True, slots=True)
class Risks:
    """What a run has of the three, each with all that it comes from. Empty: not that one."""

    untrusted: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    outward: tuple[str, ...] = ()

    @property
    def all_three(self) -> bool:
        return bool(self.untrusted and self.private and self.outward)

    def as_dict(self) -> dict[str, list[str]]:
        return {name: list(getattr(self, name)) for name in KINDS}

    def lines(self) -> list[str]:
        """A line for each of the three that holds, with its reasons."""
        found = ((text, getattr(self, name)) for name, text in KINDS.items())
        return [f"{text}: {', '.join(reasons)}" for text, reasons in found if reasons]


def find_risks(task: Task, options: RunOptions, config: Config, *, project: Path, cwd: Path) -> Risks:
    """What a run of `task` would have of the three.

    `project` is the project's folder; paths in `options` start from `cwd`. Nothing is opened.
    """
    ceiling = config.policy
    untrusted = [
        f"input '{one.name}' is not marked `trusted: true`" for one in task.inputs if not one.trusted
    ]
    axes = [axis.source for axis in task.matrix.axes if axis.source] if task.matrix else []
    untrusted += [
        f"the values of '{one.name}' come from a {one.kind}, not marked `trusted: true`"
        for one in axes
        if not one.trusted
    ]
    untrusted += [f"the result of '{need.task}' is handed in" for need in task.needs]
    private = [*_outside(options.inputs, project, cwd), *options.handed.private]
    commands = any(one.kind == "command" for one in (*task.inputs, *axes)) or may_run(task)
    if config.sandbox.read and ("shell" in task.tools or commands):
        private.append(f"sandbox.read names {', '.join(map(str, config.sandbox.read))}")
    outward = []
    if ceiling.network != () and task.allow.network:
        outward.append(f"allow.network names {', '.join(task.allow.network)}")
    if "fetch" in task.tools:
        untrusted.append("the tool fetch")
        outward += ["the tool fetch reaches them"] if outward else []
    unconfined = options.no_sandbox or config.sandbox.use == "none"
    for what in _unheld(task, options, ceiling) if unconfined else ():
        outward.append(f"{what} without a sandbox has this machine's network")
        private.append(f"{what} without a sandbox reaches what this account may")
    return Risks(tuple(untrusted), tuple(private), tuple(outward))


def accepted_risk(task: Task, risks: Risks, ceiling: Ceiling) -> str | None:
    """The task's reason for combining all three, or None when there is nothing to accept.

    Raises PolicyError when the task gives no reason or the operator's settings do not let it count.
    """
    if not risks.all_three:
        return None
    if task.accept_risk is not None and ceiling.accept_risk:
        return task.accept_risk
    raise PolicyError(
        "\n  ".join(["this run would do three things that are safe only apart:", *risks.lines()]),
        hint=_remedy(task, ceiling),
    )


def warning(task: Task, risks: Risks) -> str:
    """What a task's file alone shows to be dangerous, or "": the third of the three is up to each run."""
    if not (risks.untrusted and risks.outward):
        return ""
    line = f"{task.source}: {'; '.join(risks.lines())}"
    if task.accept_risk is not None:
        return f"{line} - accept_risk counts where the operator's settings have `policy.accept_risk: true`"
    if risks.private:
        return f"{line} - such a run is refused"
    return f"{line} - a run that reaches private data beyond the project too is refused"


def _remedy(task: Task, ceiling: Ceiling) -> str:
    steps = []
    if task.accept_risk is None:
        steps.append(f'say why in {task.source} with `accept_risk: "..."`')
    if not ceiling.accept_risk:
        steps.append(f"set `policy: {{accept_risk: true}}` in {ceiling.source}")
    return (
        "take one of them away (`trusted: true` is for inputs that only you write), or accept the risk: "
        + " and ".join(steps)
    )


def _unheld(task: Task, options: RunOptions, ceiling: Ceiling) -> Iterator[str]:
    """What could run anything, held by nothing: whatever its pattern says, a program does what its
    arguments and files tell it."""
    allowed = (*(task.allow.run if ceiling.run != () else ()), *options.allow_run)
    if "shell" in task.tools and allowed:
        yield (
            "a full shell" if FULL_SHELL in allowed else f"a command ({', '.join(dict.fromkeys(allowed))})"
        )
    writes = (*(task.allow.write if ceiling.write != () else ()), *options.allow_write)
    if may_run(task) and (writes or task.output.file is not None):
        yield "a check that runs what the model may have written"


def _outside(inputs: Mapping[str, Path], project: Path, cwd: Path) -> list[str]:
    root = project.resolve()
    return [
        f"--input {name}={path} lies outside of the project"
        for name, path in inputs.items()
        if not (cwd / path).resolve().is_relative_to(root)
    ]
