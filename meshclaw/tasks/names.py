"""Checks `{{ names }}`: declared, used, and never where text could become code."""

from __future__ import annotations

from difflib import get_close_matches

from meshclaw.documents import Node
from meshclaw.tasks.model import Task
from meshclaw.tasks.values import Reader
from meshclaw.templates import TemplateError, lookups


def check_names(reader: Reader, root: Node, task: Task) -> None:
    """Adds a Problem for every name that is undeclared, unused or misplaced."""
    params = {param.name for param in task.params}
    inputs = {one.name for one in task.inputs}
    for name in sorted(params & inputs):
        node = root.get("inputs")
        place = node.key_place(name) if node else (1, 1)
        reader.problem_at(place, f"'{name}' is a parameter and an input", "give one of them another name")
    used: set[str] = set()
    used |= _text(reader, root.get("prompt"), params | inputs, params | inputs)
    used |= _text(reader, root.get("system"), params, params | inputs)
    output = root.get("output")
    used |= _text(reader, output.get("file") if output else None, params, params | inputs)
    declared_inputs = root.get("inputs")
    for _, node in declared_inputs.items() if declared_inputs else ():
        for key in ("file", "glob"):
            used |= _text(reader, node.get(key), params, params | inputs)
        used |= _command(reader, node.get("command"), params)
    _allow(reader, root.get("allow"))
    _unused(reader, root, "params", params - used, "parameter")
    _unused(reader, root, "inputs", inputs - used, "input")


def _text(reader: Reader, node: Node | None, allowed: set[str], declared: set[str]) -> set[str]:
    if node is None or node.kind != "scalar" or not isinstance(node.value, str):
        return set()
    try:
        found = lookups(node.value)
    except TemplateError as error:
        reader.problem_at(_place(node, error.offset), str(error), 'write {{ "{{" }} for two braces')
        return set()
    for lookup in found:
        if lookup.name in allowed:
            continue
        place = _place(node, lookup.offset)
        if lookup.name in declared:
            hint = "inputs are untrusted: put them into the prompt"
            reader.problem_at(place, f"input '{lookup.name}' cannot stand here, only parameters can", hint)
            continue
        close = get_close_matches(lookup.name, list(allowed), n=1)
        hint = f"did you mean '{close[0]}'?" if close else "declare it in params or inputs"
        reader.problem_at(place, f"'{lookup.name}' is not declared", hint)
    return {lookup.name for lookup in found}


def _command(reader: Reader, node: Node | None, params: set[str]) -> set[str]:
    if node is None or not isinstance(node.value, str):
        return set()
    if "{{" in node.value:
        hint = 'text must not become code: write "$MESHCLAW_PARAM_NAME"'
        reader.problem(node, "'{{' is not allowed in a command", hint)
    return {name for name in params if f"MESHCLAW_PARAM_{name.upper()}" in node.value}


def _allow(reader: Reader, node: Node | None) -> None:
    for _, patterns in node.items() if node else ():
        for item in patterns.value if patterns.kind == "list" else ():
            if item.kind == "scalar" and "{{" in item.text:
                reader.problem(item, "'{{' is not allowed in allow", "what is allowed is fixed beforehand")


def _unused(reader: Reader, root: Node, key: str, names: set[str], what: str) -> None:
    node = root.get(key)
    for name in sorted(names):
        if node is not None and name in node.keys:
            hint = f"write {{{{ {name} }}}} where it belongs, or remove it"
            if what == "parameter":
                hint += f"; commands read it as $MESHCLAW_PARAM_{name.upper()}"
            reader.problem_at(node.key_place(name), f"{what} '{name}' is never used", hint)


def _place(node: Node, offset: int) -> tuple[int, int]:
    """Where the character at `offset` of a scalar's value stands in the file.

    Exact for plain and quoted text of one line and for literal blocks; else where the scalar begins.
    """
    before = node.value[:offset]
    if node.block_column:
        return node.line + 1 + before.count("\n"), node.block_column + offset - (before.rfind("\n") + 1)
    if "\n" in node.value:
        return node.line, node.column
    return node.line, node.column + offset + (0 if node.plain else 1)
