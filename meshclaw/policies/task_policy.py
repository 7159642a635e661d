"""The policy of one run: what its task and the operator allow."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from glob import escape
from typing import Literal

from meshclaw.policies.effects import Decision, Effects
from meshclaw.policies.patterns import is_inside
from meshclaw.policies.protected import PROTECTED, guarding
from meshclaw.policies.rules import FULL_SHELL, Ceiling, Rules
from meshclaw.shell_syntax import SyntaxProblem, parse_command_line

Key = Literal["write", "run", "network"]


class TaskPolicy:
    """Allows reading the project, and of all else only what the task names and the operator lets it.

    `write` holds globs, matched as `matches_glob` says. `run` holds command patterns, matched as
    `matches_command` says. `network` holds hosts, matched as `matches_host` says.
    These are the task's, and count only as far as `ceiling` allows the same thing. `granted` holds what the
    operator's flags allow on top: the ceiling does not narrow them.
    `shell_enabled` is True when there is a sandbox or the operator does without one; else `no_shell` is the
    remedy.
    `propose` holds patterns of commands that may not run but be proposed to a person, as far as the ceiling
    lets them.
    `source` is the task's file, for the remedies. `protected` paths are explained at PROTECTED.
    """

    def __init__(
        self,
        write: Sequence[str] = (),
        run: Sequence[str] = (),
        network: Sequence[str] = (),
        *,
        propose: Sequence[str] = (),
        granted: Rules | None = None,
        ceiling: Ceiling | None = None,
        shell_enabled: bool = False,
        no_shell: str = "pass --no-sandbox: without a sandbox no command runs",
        source: str = "",
        protected: Sequence[str] = PROTECTED,
    ) -> None:
        self._task = Rules(write, run, network, protected=protected)
        self._granted = granted or Rules()
        self._ceiling = ceiling or Ceiling()
        self._most = Rules(
            self._ceiling.write or (),
            self._ceiling.run or (),
            self._ceiling.network or (),
            protected=protected,
        )
        self._proposable = Rules(run=propose)
        most = self._ceiling.propose
        self._most_proposable = Rules(run=propose if most is None else most)
        self._protected = tuple(protected)
        self.write = (*self._task.write, *self._granted.write)
        self.run = (*self._task.run, *self._granted.run)
        self.network = (*self._task.network, *self._granted.network)
        self.propose = self._proposable.run
        self.shell_enabled = shell_enabled
        self._no_shell = no_shell
        self.source = source or "the task"

    @property
    def protected(self) -> tuple[str, ...]:
        return self._protected

    @property
    def ceiling(self) -> Ceiling:
        return self._ceiling

    @property
    def writable(self) -> tuple[str, ...]:
        """Globs that allow no more than `review` does: for a sandbox, which cannot ask file by file.

        Protected paths are to be kept apart as `review` does. Where a task's glob and one of the ceiling
        overlap in a way that does not show from their text, neither is here.
        """
        if self._ceiling.write is None:
            return self.write
        both = (*self._task.globs_within(self._most), *self._most.globs_within(self._task))
        return tuple(dict.fromkeys((*both, *self._granted.write)))

    @property
    def reachable(self) -> tuple[str, ...]:
        """Patterns of hosts that allow no more than `review` does: for a sandbox's proxy."""
        if self._ceiling.network is None:
            return self.network
        both = (*self._task.hosts_within(self._most), *self._most.hosts_within(self._task))
        return tuple(dict.fromkeys((*both, *self._granted.network)))

    def review(self, effects: Effects) -> Decision:
        """Denies with the first thing that is not allowed. Never raises."""
        try:
            denied = next(self._denials(effects), None)
            return replace(denied, proposal=self._proposal(effects)) if denied else Decision(True)
        except Exception as error:
            return Decision(False, f"the policy could not decide ({type(error).__name__})")

    def _denials(self, effects: Effects) -> Iterator[Decision]:
        for path in effects.reads:
            if not is_inside(path):
                yield Decision(False, f"reading {path} is not allowed")
        for path in effects.writes:
            yield from self._denied_write(path)
        for command in effects.commands:
            yield from self._denied_command(command)
        for host in effects.hosts:
            yield from self._denied_host(host)

    def _proposal(self, effects: Effects) -> str:
        """The call's one command, when each part of it may run or be proposed, and not all may run."""
        alone = Effects(commands=effects.commands, complete=True)
        if not self.propose or effects != alone or len(effects.commands) != 1:
            return ""
        parsed = parse_command_line(effects.commands[0])
        if isinstance(parsed, SyntaxProblem):
            return ""
        held = [words for words in parsed.commands if not self._may_run(words)]
        return parsed.text if held and all(map(self._may_propose, held)) else ""

    def _may_run(self, words: Sequence[str]) -> bool:
        in_ceiling = self._ceiling.run is None or self._most.may_run(words)
        return self._granted.may_run(words) or (in_ceiling and self._task.may_run(words))

    def _may_propose(self, words: Sequence[str]) -> bool:
        return self._proposable.may_run(words) and self._most_proposable.may_run(words)

    def _denied_write(self, path: str) -> Iterator[Decision]:
        if not is_inside(path) or not path:
            yield Decision(False, f"writing {path or 'the project folder'} is never allowed")
            return
        if self._granted.may_write(path):
            return
        in_task = self._task.may_write(path)
        in_ceiling = self._ceiling.write is None or self._most.may_write(path)
        if in_task and in_ceiling:
            return
        reason = self._reason(f"writing {path}", "write", in_task)
        if guarding(path, self._protected) is not None:
            reason += "; it decides what later runs or programs do, so a pattern must name it"
        pattern = escape(path)
        flag = f"--allow-write {shlex.quote(pattern)}"
        yield Decision(False, reason, self._remedy("write", pattern, flag, in_task, in_ceiling))

    def _denied_command(self, command: str) -> Iterator[Decision]:
        task, most, granted = self._task, self._most, self._granted
        bounded = self._ceiling.run is not None
        if granted.any_command or (task.any_command and (most.any_command or not bounded)):
            if "\0" in command:
                yield Decision(False, "the command holds a NUL character")
            elif not self.shell_enabled:
                yield self._without_sandbox()
            return
        parsed = parse_command_line(command)
        if isinstance(parsed, SyntaxProblem):
            in_task, in_ceiling = task.any_command, most.any_command or not bounded
            # Only a full shell takes what cannot be read; a task that has one was denied by the ceiling.
            why = "; " + self._reason("a full shell", "run", in_task) if in_task else self._allowed("run")
            reason = parsed.reason + why
            # Three lines with a redirection are three things, though one remedy would allow them all.
            yield replace(self._not_run(reason, FULL_SHELL, in_task, in_ceiling), wanted=command)
            return
        # What could be proposed comes last: it is not what stands in the way.
        for words in sorted(parsed.commands, key=self._may_propose):
            if not self._may_run(words):
                in_task, in_ceiling = task.may_run(words), most.may_run(words) or not bounded
                text = shlex.join(words)
                reason = self._reason(f"running {text}", "run", in_task)
                yield self._not_run(reason, text, in_task, in_ceiling)
        if not self.shell_enabled:
            yield self._without_sandbox()

    def _not_run(self, reason: str, pattern: str, in_task: bool, in_ceiling: bool) -> Decision:
        flags = "" if self.shell_enabled else "--no-sandbox "
        flags += f"--allow-run {shlex.quote(pattern)}"
        return Decision(False, reason, self._remedy("run", pattern, flags, in_task, in_ceiling))

    def _without_sandbox(self) -> Decision:
        return Decision(False, "commands are not allowed without a sandbox", self._no_shell)

    def _denied_host(self, host: str) -> Iterator[Decision]:
        if self._granted.may_connect(host):
            return
        in_task = self._task.may_connect(host)
        in_ceiling = self._ceiling.network is None or self._most.may_connect(host)
        if not (in_task and in_ceiling):
            reason = self._reason(f"connecting to {host}", "network", in_task)
            yield Decision(False, reason, self._remedy("network", host, "", in_task, in_ceiling))

    def _reason(self, what: str, key: Key, in_task: bool) -> str:
        if not in_task:
            return f"{what} is not allowed{self._allowed(key)}"
        most = ", ".join(getattr(self._most, key)) or "nothing"
        return f"{what} is beyond the operator's policy.{key}, which allows {most}"

    def _allowed(self, key: Key) -> str:
        patterns = getattr(self, key)
        told = f"; allowed are {', '.join(patterns)}" if patterns else ""
        if key == "run" and self.propose:
            told += f"; what can be proposed is {', '.join(self.propose)}"
        return told

    def _remedy(self, key: Key, pattern: str, flags: str, in_task: bool, in_ceiling: bool) -> str:
        what = " (a full shell)" if key == "run" and pattern == FULL_SHELL else ""
        proposable = key == "run" and self.propose and pattern != FULL_SHELL
        lists = f"allow.{key} or propose" if proposable else f"allow.{key}"
        places = [] if in_task else [f"{lists} in {self.source}"]
        if not in_ceiling:
            places.append(f"policy.{key} in {self._ceiling.source}")
        line = f"add {json.dumps(pattern)}{what} to {' and to '.join(places)}"
        return f"{line}, or pass {flags}" if flags else line
