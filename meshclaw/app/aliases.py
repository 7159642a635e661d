"""Adds an alias to the operator's settings without disturbing what people wrote there."""

from __future__ import annotations

import os
from pathlib import Path

from meshclaw.documents import Node, parse
from meshclaw.errors import Problem, ProblemsError


def add_alias(path: Path, alias: str, model: str) -> None:
    """Writes `models: {alias: model}` into the YAML file at `path`, comments and order kept.

    The file keeps its mode (it may hold keys), and a link to it stays one. Raises ProblemsError when the
    file is not what it should be, the alias exists, it cannot be added safely, or writing fails.
    """
    try:
        text = path.read_bytes().decode("utf-8") if path.exists() else ""
        before = parse(text.encode(), str(path))
        models = before.get("models")
        if models is not None and models.get(alias) is not None:
            raise ProblemsError(
                [Problem(str(path), *models.key_place(alias), f"the alias '{alias}' is set already")]
            )
        changed = _added(text, models, alias, model)
        if not _only_adds(before, changed, alias, model):
            line, column = before.key_place("models") if models else (0, 0)
            hint = f"add `{alias}: {model}` under models: by hand"
            raise ProblemsError([Problem(str(path), line, column, "cannot be changed safely", hint)])
        _write(path, changed)
    except UnicodeDecodeError:
        raise ProblemsError([Problem(str(path), 0, 0, "the file is not UTF-8")]) from None
    except OSError as error:
        raise ProblemsError([Problem(str(path), 0, 0, f"cannot be written: {error.strerror}")]) from None


def _added(text: str, models: Node | None, alias: str, model: str) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    if models is None:
        gap = end * 2 if text.strip() else ""
        return f"{text.rstrip()}{gap}models:{end}  {alias}: {model}{end}"
    lines = text.splitlines(keepends=True)
    line, column = next(iter(models.keys.values()), (models.line, 1))
    lines.insert(line - 1, f"{' ' * (column - 1)}{alias}: {model}{end}")
    return "".join(lines)


def _only_adds(before: Node, changed: str, alias: str, model: str) -> bool:
    """Whether the changed text means what it meant, and the alias besides: no style of YAML is guessed."""
    try:
        after = parse(changed.encode(), "").data()
    except ProblemsError:
        return False
    expected = before.data()
    if not isinstance(expected, dict):
        return False
    models = expected.get("models", {})
    return isinstance(models, dict) and after == expected | {"models": {**models, alias: model}}


def _write(path: Path, text: str) -> None:
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    draft = target.with_name(f".{target.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            os.fchmod(handle, mode)
            file.write(text)
        draft.replace(target)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
