"""Checks `{{ names }}`: declared, used, and never where text could become code."""

from __future__ import annotations

import re
from difflib import get_close_matches

from meshclaw.documents import Node
from meshclaw.tasks.acceptance import texts_of
from meshclaw.tasks.fields import CHECKS
from meshclaw.tasks.values import Reader
from meshclaw.templates import TemplateError, lookups

_VARIABLE = re.compile(r"MESHCLAW_(?:PARAM|INPUT)_[A-Za-z0-9_]+")


def check_names(reader: Reader, root: Node) -> None:
    """Adds a Problem for every name that is undeclared, unused or misplaced."""
    params = _declared(root.get("params"))
    inputs = _declared(root.get("inputs"))
    for name in sorted(params & inputs):
        node = root.get("inputs")
        place = node.key_place(name) if node else (1, 1)
        reader.problem_at(place, f"'{name}' is a parameter and an input", "give one of them another name")
    _same_variable(reader, root.get("params"), "MESHCLAW_PARAM_")
    _same_variable(reader, root.get("inputs"), "MESHCLAW_INPUT_")
    handed = inputs | _results(root.get("needs"))
    used: set[str] = set()
    used |= _text(reader, root.get("prompt"), params | handed, params | handed)
    used |= _text(reader, root.get("system"), params, params | handed)
    output = root.get("output")
    used |= _text(reader, output.get("file") if output else None, params, params | handed)
    used |= _text(reader, root.get("branch"), params, params | handed)
    used |= _axes(reader, root.get("matrix"), params, handed)
    declared_inputs = root.get("inputs")
    for _, node in declared_inputs.items() if declared_inputs else ():
        for key in ("file", "glob"):
            used |= _text(reader, node.get(key), params, params | handed)
        used |= _command(reader, node.get("command"), params)
    _allow(reader, root.get("allow"))
    for key in ("protect", "share"):
        _patterns(reader, root.get(key), key)
    used |= _accept(reader, root.get("accept"), params, inputs)
    _unused(reader, root, "params", params - used, "parameter")
    _unused(reader, root, "inputs", inputs - used, "input")


def _declared(node: Node | None) -> set[str]:
    """The names as they stand, wrong declarations included: those have a Problem of their own."""
    return {name for name, _ in node.items()} if node else set()


def _results(needs: Node | None) -> set[str]:
    """Names by which results of other tasks come in; whether they are used is the task's affair."""
    items = needs.value if needs is not None and needs.kind == "list" else ()
    return {item.value.replace("-", "_") for item in items if isinstance(item.value, str)}


def _axes(reader: Reader, matrix: Node | None, params: set[str], handed: set[str]) -> set[str]:
    """What axes are read from may depend on parameters, but on none that is an axis itself."""
    axes = _declared(matrix)
    used: set[str] = set()
    for _, node in matrix.items() if matrix else ():
        found = _text(reader, node.get("file"), params, params | handed)
        found |= _command(reader, node.get("command"), params)
        for name in sorted(found & axes & params):
            where = node.get("file") or node.get("command") or node
            hint = "only parameters that are no axes have a value before the runs are made"
            reader.problem(where, f"'{name}' is an axis itself", hint)
        used |= found - axes
    return used


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
    read = set(_VARIABLE.findall(node.value))
    return {name for name in params if f"MESHCLAW_PARAM_{name.upper()}" in read}


def _allow(reader: Reader, node: Node | None) -> None:
    for _, patterns in node.items() if node else ():
        _patterns(reader, patterns, "allow")


def _patterns(reader: Reader, node: Node | None, key: str) -> None:
    for item in node.value if node and node.kind == "list" else ():
        if item.kind == "scalar" and "{{" in item.text:
            reader.problem(item, f"'{{{{' is not allowed in {key}", "what is allowed is fixed beforehand")


def _accept(reader: Reader, node: Node | None, params: set[str], inputs: set[str]) -> set[str]:
    """The names that commands of checks, and whatever plug-ins have, are given as variables."""
    variables = {f"MESHCLAW_PARAM_{name.upper()}": name for name in params}
    variables |= {f"MESHCLAW_INPUT_{name.upper()}": name for name in inputs}
    used: set[str] = set()
    for item in node.value if node is not None and node.kind == "list" else ():
        reads = not (item.keys.keys() & CHECKS.keys() - {"run"})
        for place, text in texts_of(item):
            if "{{" in text:
                hint = 'what counts as done is fixed beforehand; commands read "$MESHCLAW_PARAM_NAME"'
                reader.problem_at(place, "'{{' is not allowed in accept", hint)
            if reads:
                used |= {variables[found] for found in _VARIABLE.findall(text) if found in variables}
    return used


def _same_variable(reader: Reader, node: Node | None, prefix: str) -> None:
    """Environment variables have names in capitals, so names must differ in more than case."""
    seen: dict[str, str] = {}
    for name, _ in node.items() if node else ():
        variable = f"{prefix}{name.upper()}"
        first = seen.setdefault(variable, name)
        if first != name and node is not None:
            hint = f"to commands both are ${variable}"
            reader.problem_at(node.key_place(name), f"'{name}' differs from '{first}' only in case", hint)


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
