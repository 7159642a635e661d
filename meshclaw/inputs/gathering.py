"""Gathers a task's inputs before the start, at no token cost, and marks off what cannot be trusted."""

from __future__ import annotations

from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.inputs.bounding import CutEnd, Data
from meshclaw.inputs.sources import Missing, Sources, read
from meshclaw.tasks import Input

_NOTHING_SPENT = "nothing was spent; mark it `optional: true` if that is fine"


@dataclass(frozen=True, slots=True)
class Gathered:
    """One input's text as the prompt will hold it, and its bytes as files and commands get them.

    `cut` says which end of it is missing; `problem` tells the user of one that was not asked for.
    """

    name: str
    text: str
    data: bytes
    cut: CutEnd = ""
    trusted: bool = False
    problem: str = ""


async def gather(inputs: tuple[Input, ...], sources: Sources, source: str) -> list[Gathered]:
    """All inputs, in the task's order. Raises ProblemsError with every one that is missing or empty.

    `source` names the task file in Problems. Standard input is read only when an input asks for it.
    """
    problems: list[Problem] = []
    gathered: list[Gathered] = []
    declared = {one.name for one in inputs}
    for name in sources.overrides:
        if name not in declared:
            hint = f"there are {', '.join(sorted(declared))}" if declared else "the task has no inputs"
            problems.append(Problem("--input", 0, 0, f"unknown input '{name}'", hint))
    for one in inputs:
        try:
            found = await read(one, sources)
            if not found.data.strip() and not one.optional:
                raise Missing("is empty", _why_empty(found))
        except Missing as missing:
            if one.optional:
                found = Data(b"")
            else:
                problem = f"input '{one.name}' {missing.message}"
                problems.append(Problem(source, 0, 0, problem, missing.hint))
                continue
        text = found.data.decode("utf-8", "replace")
        problem = found.short and f"input '{one.name}': only {found.short} were read"
        gathered.append(Gathered(one.name, text, found.data, found.cut, one.trusted, problem))
    if problems:
        raise ProblemsError(problems)
    return gathered


async def read_lines(one: Input, sources: Sources, place: tuple[str, int, int]) -> list[tuple[int, str]]:
    """The lines that a source gives, stripped, with their numbers; blank ones are left out.

    Nothing is cut: raises ProblemsError, at `place` (file, line, column), for what is missing, longer than
    the source may be, or not UTF-8. An empty source has no lines, and that is no mistake.
    """
    try:
        found = await read(one, sources)
        if found.cut:
            raise Missing(f"gives more than {one.max_bytes:,} bytes")
        lines = enumerate((line.strip() for line in found.data.decode().split("\n")), 1)
    except UnicodeDecodeError:
        raise ProblemsError([Problem(*place, f"the values of '{one.name}' are not UTF-8")]) from None
    except Missing as missing:
        message = f"the values of '{one.name}': {one.kind} {missing.message}"
        hint = missing.hint if one.kind == "command" else ""
        raise ProblemsError([Problem(*place, message, hint)]) from None
    return [(number, line) for number, line in lines if line]


def _why_empty(found: Data) -> str:
    if not found.errors:
        return _NOTHING_SPENT
    return f"{_NOTHING_SPENT}. Beside its data the command wrote:\n{found.errors}"
