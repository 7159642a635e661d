"""Calls of `fetch` whose names lead to loopback servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from meshclaw.messages import ToolCall
from meshclaw.policies import Decision, TaskPolicy
from meshclaw.tools.base import ToolContext
from meshclaw.tools.toolbox import Executed, Toolbox
from meshclaw.tools.web import FetchTool
from meshclaw.workspace import Workspace

PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"
"""Loopback addresses that stand for a public and for a private one."""


class Names:
    """A lookup: every name leads to PUBLIC unless `answers` has lists for it, one for each time."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(lists) for name, lists in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        lists = self.answers.get(host, [[PUBLIC]])
        return lists.pop(0) if len(lists) > 1 else lists[0]


def anywhere(host: str) -> Decision:
    return Decision(True)


def fetch_tool(names: Names | None = None, **options: Any) -> FetchTool:
    return FetchTool(names or Names(), lambda address: address == PUBLIC, **options)


def context(folder: Path, review: Callable[[str], Decision] | None = None) -> ToolContext:
    return ToolContext(Workspace(folder), None, {}, review_host=review)


async def fetch(
    url: str,
    folder: Path,
    names: Names | None = None,
    review: Callable[[str], Decision] | None = None,
    allow: Sequence[str] = ("*:*",),
    **options: Any,
) -> Executed:
    """As a run does it: through the toolbox and a policy."""
    box = Toolbox([fetch_tool(names, **options)], TaskPolicy(network=allow), context(folder, review))
    return await box.execute(asking(url))


def asking(url: str) -> ToolCall:
    return ToolCall("1", "fetch", json.dumps({"url": url}))


def text(done: Executed) -> str:
    assert not done.result.is_error, done.result.content
    return done.result.content


def error(done: Executed) -> str:
    assert done.result.is_error, done.result.content
    return done.result.content
