"""Keys, read at the last moment from where the settings point; they are never kept in a Config."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from meshclaw.config.values import KeySource, ProviderSettings
from meshclaw.errors import ProblemsError

MAX_KEY_BYTES = 16 * 1024


def resolve_key(provider: ProviderSettings, environment: Mapping[str, str]) -> str | None:
    """The provider's key, or None when it has none or its variable is not set.

    Raises ProblemsError for a key file that is missing, empty, not the user's own, or open to others.
    """
    source = provider.key
    if source is None:
        return None
    if source.file is not None:
        return _read(source, source.file)
    return (environment.get(source.env) or "").strip() or None if source.env else None


def _read(source: KeySource, path: Path) -> str:
    def problem(message: str, hint: str = "") -> ProblemsError:
        return ProblemsError([source.origin.problem(f"key file {path}: {message}", hint)])

    try:
        # What is checked is what is read: one open file. A FIFO must not block the opening.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise problem(error.strerror or "cannot be opened") from error
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise problem("it is not a plain file")
        if status.st_uid != os.geteuid():
            raise problem("it belongs to another user", f"run: chown {os.geteuid()} {path}")
        if status.st_mode & 0o077:
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            raise problem(f"others may use it (mode {mode})", f"run: chmod 600 {path}")
        data = file.read(MAX_KEY_BYTES + 1)
    try:
        key = data.decode("ascii").strip()
    except UnicodeDecodeError:
        key = "not ascii"
    if not key:
        raise problem("it is empty")
    if len(data) > MAX_KEY_BYTES or not key.isprintable() or " " in key:
        raise problem("it does not hold a key: one line of plain text without spaces is expected")
    return key
