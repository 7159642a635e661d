"""What checks say, held within bounds: one-line reasons and labels, evidence from beginning and end."""

from __future__ import annotations

from meshclaw.terminal_text import clean

MAX_LABEL = 120
MAX_REASON = 300
"""Characters, both on one line."""


def one_line(text: str, most: int) -> str:
    """`text` on one line of at most `most` characters, without what cannot be seen."""
    line = " ".join(clean(text).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def bounded(text: str, most: int) -> str:
    """`text` without what cannot be seen; of a long one about `most` characters, from whole lines.

    A quarter is its beginning and the rest its end: what went wrong stands at the end of most outputs.
    """
    text = clean(text)
    if len(text) <= most:
        return text
    head, tail = text[: most // 4], text[-(most - most // 4) :]
    head = head[: head.rfind("\n") + 1] or head
    tail = tail[tail.find("\n") + 1 :] if "\n" in tail[:-1] else tail
    left_out = len(text) - len(head) - len(tail)
    ending = "" if head.endswith("\n") else "\n"
    return f"{head}{ending}[... {left_out} characters are left out ...]\n{tail}"


def label(kind: str, argument: object, name: str) -> str:
    """How a person reads a check: its own name, or what it does."""
    if name.strip():
        return one_line(name, MAX_LABEL)
    shown = ", ".join(map(str, argument)) if isinstance(argument, list | tuple | dict) else str(argument)
    return one_line(f"{kind}: {shown}" if argument not in (None, "") else kind, MAX_LABEL)
