"""The `shell` tool: runs what the policy let through, exactly as it was read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshclaw.policies import Decision, Effects
from meshclaw.sandbox.base import Command, Refused, SandboxError
from meshclaw.shell_syntax import ParsedScript, parse_command_line
from meshclaw.tools.base import ToolContext, ToolError, ToolOutput
from meshclaw.tools.specs import tool_spec


class ShellTool:
    """What can be read with certainty runs with every word quoted, so that the shell adds nothing.

    What cannot be read was let through only because the policy allows a full shell: it runs verbatim.
    """

    spec = tool_spec(
        "shell",
        "Run a shell command in the project folder. Shows stdout, stderr and the exit code.",
        {"command": "string"},
        {},
    )

    def effects(self, arguments: Mapping[str, Any]) -> Effects:
        return Effects(commands=(arguments["command"],), complete=True)

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        if context.sandbox is None:
            raise ToolError("no command can run here: there is no sandbox, and --no-sandbox was not given")
        parsed = parse_command_line(arguments["command"])
        command = Command(
            script=parsed.script if isinstance(parsed, ParsedScript) else arguments["command"],
            directory=context.workspace.root,
            environment=context.environment,
            timeout=context.timeout,
            workspace=context.workspace.root,
            confinement=context.confinement,
        )
        try:
            result = await context.sandbox.execute(command)
        except (OSError, ValueError, SandboxError) as error:
            raise ToolError(f"the command could not be started: {error}") from error
        output = (
            result.output if not result.output or result.output.endswith("\n") else f"{result.output}\n"
        )
        if result.not_kept:
            names = ", ".join(result.not_kept)
            output += f"[not kept, since allow.write does not name it, or git would obey it: {names}]\n"
        denied = tuple(denial(one, context.review_host) for one in result.refused)
        output += "".join(f"[denied: {one.reason}]\n" for one in denied)
        if result.timed_out:
            output += f"[stopped: it ran longer than {context.timeout:g} s]"
        elif result.stopped:
            output += f"[stopped: {result.stopped}]"
        else:
            output += f"[exit code {result.exit_code}]"
        return ToolOutput(output, is_error=result.exit_code is None, denied=denied)


def denial(refused: Refused, review_host: Callable[[str], Decision] | None) -> Decision:
    """What the policy says of a host that the sandbox kept closed, with the line that would open it."""
    if review_host is not None:
        decision = review_host(refused.host)
        if not decision.allowed:
            return decision
    return Decision(False, f"connecting to {refused.host} is not allowed: {refused.reason}")
