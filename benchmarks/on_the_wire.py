"""What leaves for the provider: prompt overhead, resent prefix, and the CPU before the first request.

    python benchmarks/on_the_wire.py [--runs 5]

A scripted model on loopback answers `meshclaw run` over both SDKs. The overhead is the system text of
`runner: agent` and the schemas of all built-in tools, at four bytes a token. The prefix is the share of
each request's history that is byte for byte the request before it (cache markers aside). The CPU is
that of a whole run, against a script that imports the same SDK and makes the same one call.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from wire_server import Turn, WireServer

from meshclaw.runners.agent import AGENT_SYSTEM
from meshclaw.tools.built_in import BUILT_IN

SDK = {
    "anthropic": """
import anthropic
for event in anthropic.Anthropic(max_retries=0).messages.create(
    model="claude-sonnet-5-5", max_tokens=1000, messages=[{"role": "user", "content": "hi"}], stream=True
):
    pass
""",
    "openai": """
import openai
client = openai.OpenAI(max_retries=0)
for event in client.responses.create(model="gpt-6.1-terra", input="hi", stream=True):
    pass
""",
}
MODELS = {"anthropic": "anthropic/claude-sonnet-5-5", "openai": "openai/gpt-6.1-terra"}
AGENT = """\
prompt: Look at the file.
tools: [read, list, search, edit, write, shell]
"""


def without_markers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_markers(item) for key, item in value.items() if key != "cache_control"}
    return [without_markers(item) for item in value] if isinstance(value, list) else value


def overhead() -> None:
    specs = [tool().spec for tool in BUILT_IN.values()]
    schemas = [
        {"name": s.name, "description": s.description, "parameters": dict(s.parameters)} for s in specs
    ]
    size = len(AGENT_SYSTEM.encode()) + len(json.dumps(schemas).encode())
    print(f"prompt overhead: {size} bytes, {size // 4} tokens at four bytes a token (bound: under 1 000)")


def environment(server: WireServer, folder: Path) -> dict[str, str]:
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("MESHCLAW_")},
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "none",
        "OPENAI_BASE_URL": server.openai_url,
        "OPENAI_API_KEY": "none",
        "MESHCLAW_DATA_DIR": str(folder / "data"),
        "MESHCLAW_CONFIG": str(folder / "none.yaml"),
    }


def cpu(command: list[str], variables: dict[str, str], folder: Path) -> float:
    """CPU seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prefix(name: str, folder: Path) -> None:
    (folder / "agent.yaml").write_text(AGENT)
    (folder / "notes.txt").write_text("".join(f"line {number}\n" for number in range(500)))
    turns = [
        Turn(tool_calls=[("read", {"path": "notes.txt", "start": start, "end": start + 40})])
        for start in range(1, 200, 40)
    ]
    with WireServer() as server:
        server.script(*turns, Turn(text="done"))
        command = [sys.executable, "-m", "meshclaw", "run", "agent.yaml", "--model", MODELS[name]]
        cpu(command, environment(server, folder), folder)
        bodies = [without_markers(request.body) for request in server.requests if request.body]
    history = "messages" if name == "anthropic" else "input"
    same = total = 0
    for before, after in pairwise(bodies):
        head = {key: value for key, value in before.items() if key != history}
        resent = json.dumps([head, before[history]])
        again = json.dumps(
            [
                {key: value for key, value in after.items() if key != history},
                after[history][: len(before[history])],
            ]
        )
        total += len(resent)
        same += len(resent) if resent == again else 0
    print(
        f"{name}: {same / total:.1%} of what was resent is identical to the request before (bound: 100 %)"
    )


def first_request(name: str, runs: int, folder: Path) -> None:
    (folder / "one.yaml").write_text("prompt: hi\nrunner: prompt\n")
    ours: list[float] = []
    bare: list[float] = []
    with WireServer(responder=lambda recorded: Turn(text="hi")) as server:
        variables = environment(server, folder)
        for _ in range(runs):
            command = [sys.executable, "-m", "meshclaw", "run", "one.yaml", "--model", MODELS[name], "-q"]
            ours.append(cpu(command, variables, folder))
            bare.append(cpu([sys.executable, "-c", SDK[name]], variables, folder))
    added = median(ours) - median(bare)
    print(
        f"{name}: a whole run takes {median(ours):.2f} s CPU, the SDK's own client for the same call"
        f" {median(bare):.2f} s: {added * 1000:+.0f} ms (bound: 150 ms)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    overhead()
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            prefix(name, Path(folder))
            first_request(name, options.runs, Path(folder))


if __name__ == "__main__":
    main()
