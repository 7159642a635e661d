"""The tools that come with MeshClaw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from meshclaw.tools.base import Tool
from meshclaw.tools.editing import EditTool, WriteTool
from meshclaw.tools.files import ListTool, ReadTool
from meshclaw.tools.search import SearchTool
from meshclaw.tools.shell import ShellTool
from meshclaw.tools.web import FetchTool

BUILT_IN: Mapping[str, Callable[[], Tool]] = {
    "read": ReadTool,
    "list": ListTool,
    "search": SearchTool,
    "edit": EditTool,
    "write": WriteTool,
    "shell": ShellTool,
    "fetch": FetchTool,
}


def built_in_tools(names: Iterable[str]) -> list[Tool]:
    """One of each, in the order of BUILT_IN whatever the order of `names`: the same tools always make
    the same request prefix. Raises KeyError for an unknown name."""
    wanted = set(names)
    for name in wanted - set(BUILT_IN):
        raise KeyError(name)
    return [make() for name, make in BUILT_IN.items() if name in wanted]
