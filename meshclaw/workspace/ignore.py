"""What `.gitignore` files exclude, as git reads them: nested, the deepest first, the last rule wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from meshclaw.frozen import dataclass

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


@dataclass(frozen=True, slots=True)
class IgnoreFile:
    """The rules of one `.gitignore`; `folder` is where it lies, empty or ending in `/`."""

    folder: str
    spec: GitIgnoreSpec

    def verdict(self, path: str) -> bool | None:
        """None when no rule speaks of `path`, which lies beneath `folder`; folders end in `/`."""
        return self.spec.check_file(path.removeprefix(self.folder)).include


def parse_ignore_file(folder: str, data: bytes) -> IgnoreFile:
    """Rules that cannot be understood are left out, as git does."""
    from pathspec import GitIgnoreSpec

    lines = data.decode("utf-8", "surrogateescape").splitlines()
    try:
        return IgnoreFile(folder, GitIgnoreSpec.from_lines(lines))
    except ValueError:
        return IgnoreFile(folder, GitIgnoreSpec.from_lines(filter(_is_rule, lines)))


def is_ignored(files: Sequence[IgnoreFile], path: str) -> bool:
    """`files` from the root downwards; the deepest that has an opinion decides."""
    for file in reversed(files):
        verdict = file.verdict(path)
        if verdict is not None:
            return verdict
    return False


def _is_rule(line: str) -> bool:
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
