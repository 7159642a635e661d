"""The `shell` tool: runs what the policy let through, exactly as it was read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshclaw.policies import Effects
from meshclaw.sandbox.base import Command
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
        return Effects(commands=(arguments["command"],))

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        if context.sandbox is None:
            raise ToolError("no command can run here: there is no sandbox, and --no-sandbox was not given")
        parsed = parse_command_line(arguments["command"])
        command = Command(
            script=parsed.script if isinstance(parsed, ParsedScript) else arguments["command"],
            directory=context.workspace.root,
            environment=context.environment,
            timeout=context.timeout,
        )
        try:
            result = await context.sandbox.execute(command)
        except (OSError, ValueError) as error:
            raise ToolError(f"the command could not be started: {error}") from error
        output = (
            result.output if not result.output or result.output.endswith("\n") else f"{result.output}\n"
        )
        if result.timed_out:
            return ToolOutput(f"{output}[stopped: it ran longer than {context.timeout:g} s]", is_error=True)
        return ToolOutput(f"{output}[exit code {result.exit_code}]")
