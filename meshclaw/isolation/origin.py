"""What a copy was made from, as it is written down in the run's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Self

from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.isolation.repository import Repository

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Origin:
    """`shares` are those that the project has. `excludes` is the user's own file of ignore rules."""

    repository: Repository
    shares: tuple[str, ...]
    include_dirty: bool
    excludes: Path | None

    def as_data(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for what `as_data` did not give."""
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}")
        named = {one.name: data["repository"][one.name] for one in fields(Repository)}
        places = {name: Path(named[name]) for name in ("project", "top", "git_dir", "common")}
        stores = tuple(map(Path, named["stores"]))
        excludes = data["excludes"] and Path(data["excludes"])
        repository = Repository(**{**named, **places, "stores": stores})
        return cls(repository, tuple(data["shares"]), bool(data["include_dirty"]), excludes)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Puts a file there in one step, durably. Raises OSError."""
    write_whole(path, json.dumps(data, default=os.fspath, indent=1).encode() + b"\n")


def write_whole(path: Path, data: bytes) -> None:
    """The same for bytes."""
    draft = draft_of(path)
    draft.unlink(missing_ok=True)
    with open(draft, "xb", opener=_private) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def draft_of(path: Path) -> Path:
    """Where a file is written before it is put there; a killed process leaves it."""
    return path.with_name(f".{path.name}.new")


def read_json(path: Path, missing: str) -> dict[str, Any]:
    """Raises ProblemsError, with `missing` as its text when there is no such file."""
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ProblemsError([Problem(str(path.parent), 0, 0, missing)]) from None
    except (OSError, ValueError) as error:
        raise ProblemsError([Problem(str(path), 0, 0, f"this cannot be read: {error}")]) from error
    if not isinstance(data, dict):
        raise ProblemsError([Problem(str(path), 0, 0, "this is not what MeshClaw wrote")])
    return data


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
