"""The patterns of one author (a task, the operator's flags, the operator's ceiling), ready to match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshclaw.frozen import dataclass
from meshclaw.policies.patterns import is_inside, matches_command, matches_glob, matches_host
from meshclaw.policies.protected import PROTECTED, guarding
from meshclaw.shell_syntax import parse_pattern

FULL_SHELL = "*"
"""The one pattern of `allow.run` that lets any text through to the shell."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the operator's settings allow any task at most. None: they do not say, so all is left to tasks.

    `propose` bounds what they may propose. `accept_risk` lets tasks say why they combine what the rule of
    two keeps apart. `source` is the operator's file, for the remedies.
    """

    write: tuple[str, ...] | None = None
    run: tuple[str, ...] | None = None
    network: tuple[str, ...] | None = None
    accept_risk: bool = False
    source: str = "the operator's settings"
    propose: tuple[str, ...] | None = None


class Rules:
    """`protected` are paths from the project's root, as PROTECTED explains."""

    def __init__(
        self,
        write: Sequence[str] = (),
        run: Sequence[str] = (),
        network: Sequence[str] = (),
        *,
        protected: Sequence[str] = PROTECTED,
    ) -> None:
        self.write = tuple(write)
        self.run = tuple(run)
        self.network = tuple(network)
        self.any_command = FULL_SHELL in self.run
        self._protected = tuple(protected)
        self._commands = [words for words in map(parse_pattern, self.run) if isinstance(words, tuple)]

    def may_write(self, path: str) -> bool:
        if not is_inside(path) or not path:
            return False
        guard = guarding(path, self._protected)
        return any(
            matches_glob(path, pattern)
            for pattern in self.write
            if guard is None or guarding(_normal(pattern), (guard,)) is not None
        )

    def may_run(self, words: Sequence[str]) -> bool:
        """Whether one command's words fit."""
        return self.any_command or any(matches_command(words, pattern) for pattern in self._commands)

    def may_connect(self, host: str) -> bool:
        return any(matches_host(host, pattern) for pattern in self.network)

    def globs_within(self, wider: Rules) -> Iterator[str]:
        """Those globs of `write` whose every file one glob of `wider` matches too, as far as that shows."""
        for glob in self.write:
            if any(_covers(other, glob, self._protected) for other in wider.write):
                yield glob

    def hosts_within(self, wider: Rules) -> Iterator[str]:
        """Those patterns of `network` whose every host one pattern of `wider` matches too."""
        for pattern in self.network:
            for other in wider.network:
                if pattern == other or (_only_stars(pattern, other) and matches_host(pattern, other)):
                    yield pattern
                    break


def _covers(wide: str, narrow: str, protected: Sequence[str]) -> bool:
    """Whether `wide` surely matches all that `narrow` does; False where the text alone does not show it."""
    wide, narrow = _normal(wide), _normal(narrow)
    if wide == narrow:
        return True
    guard = guarding(narrow, protected)
    if guard is not None and guarding(wide, (guard,)) is None:
        return False
    if _only_stars(wide, narrow) and "**" not in narrow.split("/"):
        # A star of `narrow` can only have been matched by a star of `wide`, which takes any text.
        return is_inside(narrow) and matches_glob(narrow, wide)
    folder = wide.removesuffix("**")
    beneath = folder != wide and (not folder or folder.endswith("/"))
    literal = not any(character in folder for character in "*?[")
    return beneath and literal and is_inside(narrow) and narrow.startswith(folder)


def _only_stars(*patterns: str) -> bool:
    return not any(character in pattern for pattern in patterns for character in "?[")


def _normal(glob: str) -> str:
    glob = glob.removeprefix("./")
    return glob + "**" if glob.endswith("/") else glob
