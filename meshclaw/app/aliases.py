"""Adds an alias to the operator's settings without disturbing what people wrote there."""

from __future__ import annotations

from pathlib import Path

from meshclaw.documents import parse
from meshclaw.errors import Problem, ProblemsError


def add_alias(path: Path, alias: str, model: str) -> None:
    """Writes `models: {alias: model}` into the YAML file at `path`, comments and order kept.

    Raises ProblemsError when the file is not what it should be, the alias exists, or writing fails.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        models = parse(text.encode(), str(path)).get("models")
        if models is None:
            text = f"{text.rstrip()}\n\nmodels:\n  {alias}: {model}\n".lstrip("\n")
        elif models.get(alias) is not None:
            raise ProblemsError([Problem(str(path), models.line, 1, f"the alias '{alias}' is set already")])
        else:
            lines = text.splitlines(keepends=True)
            first = next(iter(models.keys.values()), None)
            if first is None or first[0] == parse_line(text, "models"):
                hint = f"add `{alias}: {model}` under models: by hand"
                raise ProblemsError([Problem(str(path), models.line, 1, "cannot be changed safely", hint)])
            lines.insert(first[0] - 1, f"{' ' * (first[1] - 1)}{alias}: {model}\n")
            text = "".join(lines)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.new")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemsError([Problem(str(path), 0, 0, f"cannot be written: {error}")]) from None


def parse_line(text: str, key: str) -> int:
    """The line on which a top-level key stands."""
    return parse(text.encode(), "").key_place(key)[0]
