"""The Toolbox: what stands between a model's wish and what happens.

A call's arguments are decoded, its effects reviewed by the policy, the tool run under a deadline, its
output redacted, bounded and kept. Whatever a model gets wrong comes back to it as an error result.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import anyio

from meshclaw.frozen import dataclass
from meshclaw.messages import ToolCall, ToolResult, ToolSpec
from meshclaw.policies import Decision, Effects, Policy
from meshclaw.redaction import REDACTED
from meshclaw.tools.arguments import ArgumentsError, decode_arguments
from meshclaw.tools.base import DeniedError, Tool, ToolContext, ToolError, ToolOutput
from meshclaw.workspace import RUN_FOLDER, RefusedError, WorkspaceError

HEAD_BYTES = 12_288
TAIL_BYTES = 4_096
"""What a model is shown of a longer output: its beginning and its end."""
BOUNDED_BYTES = 65_536
"""The most that a tool may show when it has bounded its output itself."""
MOST_PROPOSALS = 100
"""What a person could be asked to look at after one run."""
PROPOSED = (
    "Proposed, not run: a person may have it done after this run. Go on without its result and do not ask "
    "for it again."
)
GRACE = 15.0
"""Seconds beyond the context's timeout after which a tool that did not stop by itself is cancelled."""


@dataclass(frozen=True, slots=True)
class Executed:
    """What came of a call. `display` is for a person; `denied` says what would allow a denied call, and
    `wanted` is the same text whenever the same thing is denied. `proposal` is a command that was proposed
    and had not been before. `refused` is the same as `denied` for what an allowed call wanted on its way.
    """

    result: ToolResult
    display: str = ""
    denied: str | None = None
    wanted: str = ""
    proposal: str = ""
    refused: tuple[str, ...] = ()


class Toolbox:
    """The tools of one run. `redact` is applied to all that leaves it, before anything is kept.

    Outputs that are too long are kept whole in `outputs`, where `read @run/NAME` reaches them.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        policy: Policy,
        context: ToolContext,
        *,
        outputs: Path | None = None,
        redact: Callable[[str], str] = lambda text: text,
    ) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}
        self._policy = policy
        self._context = context
        self._outputs = outputs
        self._redact = redact
        self._denials: dict[str, None] = {}
        self._proposals: set[str] = set()
        self._prepared: dict[ToolCall, tuple[Tool, dict[str, Any]]] = {}

    @property
    def denials(self) -> tuple[str, ...]:
        """What would allow each thing that was denied so far, or why it was denied; each once."""
        return tuple(self._denials)

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """In the order the tools were given, always the same: requests keep their prefix."""
        return tuple(tool.spec for tool in self._tools.values())

    def only_reads(self, call: ToolCall) -> bool:
        """Whether the call may run beside others, and again. True for one that will not run at all."""
        try:
            tool, arguments = self._prepared[call] = self._prepare(call)
            effects = tool.effects(arguments)
            return effects.only_reads or bool(self._review(tool, arguments).proposal)
        except ArgumentsError:
            return True
        except Exception:
            return False

    def writes(self, call: ToolCall) -> bool:
        """Whether the call says that it changes files."""
        try:
            tool, arguments = self._prepare(call)
            return bool(tool.effects(arguments).writes)
        except Exception:
            return False

    def decode(self, call: ToolCall) -> dict[str, Any] | ToolResult:
        """The call's arguments, fit for the tool's schema; or the error result that the model gets."""
        try:
            return self._prepare(call)[1]
        except ArgumentsError as error:
            return self._error(call, str(error)).result

    async def execute(self, call: ToolCall) -> Executed:
        """Does what is asked, if it may be. Raises nothing but cancellation."""
        try:
            prepared = self._prepared.pop(call, None)
            tool, arguments = prepared or self._prepare(call)
            decision = self._review(tool, arguments)
            if decision.proposal:
                return self._proposed(call, decision.proposal)
            if not decision.allowed:
                return self._denied(call, decision)
            with anyio.fail_after(self._context.timeout + GRACE):
                output = await tool.call(arguments, self._context)
        except (DeniedError, RefusedError) as error:
            return self._denied(call, Decision(False, str(error)))
        except (ArgumentsError, ToolError, WorkspaceError) as error:
            return self._error(call, str(error))
        except TimeoutError:
            return self._error(call, f"{call.name} took longer than {self._context.timeout:g} s")
        except Exception as error:
            return self._error(call, f"{call.name} failed: {type(error).__name__}: {error}")
        refused = tuple(map(self._note, output.denied))
        if len(output.content) + len(output.display) <= HEAD_BYTES:
            executed = self._bounded(call, output)
        else:
            executed = await anyio.to_thread.run_sync(self._bounded, call, output)
        return replace(executed, refused=refused) if refused else executed

    def _prepare(self, call: ToolCall) -> tuple[Tool, dict[str, Any]]:
        tool = self._tools.get(call.name.strip())
        if tool is None:
            names = ", ".join(self._tools) or "none"
            close = get_close_matches(call.name, self._tools, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ArgumentsError(f"there is no tool {call.name!r}; {hint}the tools are: {names}")
        return tool, decode_arguments(call.arguments, tool.spec)

    def _review(self, tool: Tool, arguments: dict[str, Any]) -> Decision:
        """An error inside a guard denies.

        Raises WorkspaceError for a path that cannot be the project's, ToolError for what the tool knows to
        be impossible.
        """
        try:
            return self._policy.review(self._located(tool.effects(arguments)))
        except (WorkspaceError, ToolError):
            raise
        except Exception as error:
            return Decision(
                False, f"what the call would touch is unclear ({type(error).__name__}: {error})"
            )

    def _denied(self, call: ToolCall, decision: Decision) -> Executed:
        denied = self._note(decision)
        error = self._error(call, f"denied: {decision.reason}")
        return replace(error, denied=denied, wanted=decision.wanted or denied)

    def _note(self, decision: Decision) -> str:
        denied = self._clean(decision.remedy or decision.reason)
        self._denials[denied] = None
        return denied

    def _proposed(self, call: ToolCall, command: str) -> Executed:
        """Keeps it once. Denied when it is not what a person could be shown, or too much for one."""
        if self._clean(command) != command or REDACTED in command:
            return self._denied(call, Decision(False, "what holds a secret cannot be proposed"))
        if command in self._proposals:
            return Executed(ToolResult(call.id, PROPOSED))
        if len(self._proposals) >= MOST_PROPOSALS:
            reason = f"{MOST_PROPOSALS} commands have been proposed, which is the most for one run"
            return self._denied(call, Decision(False, reason))
        self._proposals.add(command)
        return Executed(ToolResult(call.id, PROPOSED), proposal=command)

    def _located(self, effects: Effects) -> Effects:
        """Paths as the workspace will open them. Raises WorkspaceError."""
        relative = self._context.workspace.relative
        reads, writes = tuple(map(relative, effects.reads)), tuple(map(relative, effects.writes))
        if (reads, writes) == (effects.reads, effects.writes):
            return effects
        return replace(effects, reads=reads, writes=writes)

    def _error(self, call: ToolCall, text: str) -> Executed:
        text = self._clean(text)
        if len(text) > HEAD_BYTES:
            text = text[:HEAD_BYTES] + " [...]"
        return Executed(ToolResult(call.id, text, is_error=True))

    def _bounded(self, call: ToolCall, output: ToolOutput) -> Executed:
        content = self._clean(output.content)
        data = content.encode()
        most = BOUNDED_BYTES if output.bounded else HEAD_BYTES + TAIL_BYTES
        if len(data) > most:
            kept = self._keep(call, data)
            where = f"; read {RUN_FOLDER}/{kept} for all" if kept and "read" in self._tools else ""
            head, tail = _line_start(data[:HEAD_BYTES]), _line_end(data[-TAIL_BYTES:])
            notice = (
                f"\n[... {len(data) - len(head) - len(tail)} of {len(data)} bytes left out{where} ...]\n"
            )
            content = head.decode(errors="ignore") + notice + tail.decode(errors="ignore")
        result = ToolResult(call.id, content, output.is_error)
        return Executed(result, self._clean(output.display))

    def _keep(self, call: ToolCall, data: bytes) -> str | None:
        """The name of the file that holds the whole output, or None when it could not be kept."""
        if self._outputs is None:
            return None
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", call.id)[:64] or "output"
        try:
            self._outputs.mkdir(mode=0o700, parents=True, exist_ok=True)
            for number in range(1, 10_000):
                name = f"{stem}.txt" if number == 1 else f"{stem}-{number}.txt"
                try:
                    with open(self._outputs / name, "xb", opener=_private) as file:
                        file.write(data)
                except FileExistsError:
                    continue
                return name
        except OSError:
            return None
        return None

    def _clean(self, text: str) -> str:
        """Redacted, and fit to be encoded: a lone surrogate would break the transcript."""
        return self._redact(text.encode("utf-8", "backslashreplace").decode())


def _line_start(data: bytes) -> bytes:
    """Without the last, cut line, unless that is most of it."""
    end = data.rfind(b"\n")
    return data[:end] if end > len(data) // 2 else data


def _line_end(data: bytes) -> bytes:
    start = data.find(b"\n") + 1
    return data[start:] if 0 < start < len(data) // 2 else data


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
