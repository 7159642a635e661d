"""A model is only a name: `provider/model-id`, or an alias that stands for one."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from meshclaw.errors import Problem, ProblemsError

Place = tuple[str, int, int]
"""Source, line and column of the text that named a model."""

NOWHERE: Place = ("model", 0, 0)


def split(name: str, at: Place = NOWHERE) -> tuple[str, str]:
    """`openrouter/meta/llama-4` -> (`openrouter`, `meta/llama-4`). Raises ProblemsError."""
    provider, slash, model_id = name.partition("/")
    if not slash or not provider or not model_id:
        hint = "write provider/model-id, such as local/qwen2.5-coder-1.5b"
        raise ProblemsError([Problem(*at, f"'{name}' is not a model's name", hint)])
    return provider, model_id


def resolve_alias(name: str, aliases: Mapping[str, str], at: Place = NOWHERE) -> str:
    """Follows aliases to a `provider/model-id`; a name that already is one is returned as it is.

    Raises ProblemsError for an unknown alias (with a suggestion) and for aliases that go in a circle.
    """
    seen: list[str] = []
    while name in aliases:
        if name in seen:
            circle = " -> ".join([*seen[seen.index(name) :], name])
            raise ProblemsError([Problem(*at, f"model aliases go in a circle: {circle}", "")])
        seen.append(name)
        name = aliases[name]
    if "/" not in name:
        close = get_close_matches(name, list(aliases), n=1)
        known = f"known aliases: {', '.join(sorted(aliases))}" if aliases else "no aliases are set"
        hint = f"did you mean '{close[0]}'?" if close else f"write provider/model-id; {known}"
        through = f" (through alias '{seen[-1]}')" if seen else ""
        raise ProblemsError([Problem(*at, f"unknown model '{name}'{through}", hint)])
    split(name, at)
    return name
