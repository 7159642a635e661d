"""What git lets a branch be called."""

from __future__ import annotations

import re

from meshclaw.templates import TemplateError, lookups, render

FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]")


def branch_fault(name: str) -> str | None:
    """Why no branch can be called `name`; None when one can.

    The rules are those of git-check-ref-format(1), and `@` is none: in most places it means HEAD.
    """
    parts = name.split("/")
    if not name or "" in parts:
        return "it is empty, or a part between slashes is"
    if name in ("@", "HEAD") or name.startswith("-"):
        return "it begins with '-'" if name[0] == "-" else "git means something else by it"
    if found := FORBIDDEN.search(name):
        return f"it holds {found[0]!r}"
    if ".." in name or "@{" in name:
        return "it holds '..'" if ".." in name else "it holds '@{'"
    if any(part.startswith(".") or part.endswith(".lock") for part in parts) or name.endswith("."):
        return "a part of it begins with '.', or ends with '.' or '.lock'"
    return None


def template_fault(text: str) -> str | None:
    """The same for a name with `{{ parameters }}`, whatever they are; None also for what is no template."""
    try:
        return branch_fault(render(text, {one.name: "x" for one in lookups(text)}))
    except TemplateError:
        return None
