"""What leaves for the provider: prompt overhead, resent prefix, and the CPU before the first request.

    python benchmarks/on_the_wire.py [--runs 41]

A scripted model on loopback answers `meshclaw run` over both SDKs. The overhead is the system text of
`runner: agent` and the schemas of all built-in tools, at four bytes a token. The prefix is the share of
each request's history that is byte for byte the request before it (cache markers aside). The CPU is what
the process has used when its first request arrives (its CPU clock, threads that have ended included),
against a script that imports the same SDK and makes the same one call, in turn: the median of what ours
takes more than the one after it, and the middle half of the pairs, since machines are noisy. Neither
loads certificates, which a server on loopback needs none of, and both find their bytecode compiled.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from wire_server import Turn, WireServer

from meshclaw.runners.agent import AGENT_SYSTEM
from meshclaw.tools.built_in import BUILT_IN

SDK = {
    "anthropic": """
import anthropic
client = anthropic.Anthropic(max_retries=0, http_client=anthropic.DefaultHttpxClient(verify=False))
for event in client.messages.create(
    model="claude-sonnet-5-5", max_tokens=1000, messages=[{"role": "user", "content": "hi"}], stream=True
):
    pass
""",
    "openai": """
import openai
client = openai.OpenAI(max_retries=0, http_client=openai.DefaultHttpxClient(verify=False))
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


def addresses(server: WireServer) -> dict[str, str]:
    return {"ANTHROPIC_BASE_URL": server.url, "OPENAI_BASE_URL": server.openai_url}


def environment(folder: Path) -> dict[str, str]:
    return {
        **{
            key: value
            for key, value in os.environ.items()
            if not key.startswith("MESHCLAW_") and key != "PYTHONDONTWRITEBYTECODE"
        },
        "ANTHROPIC_API_KEY": "none",
        "OPENAI_API_KEY": "none",
        "MESHCLAW_DATA_DIR": str(folder / "data"),
        "MESHCLAW_CONFIG": str(folder / "none.yaml"),
    }


def run(command: list[str], variables: dict[str, str], folder: Path) -> None:
    subprocess.run(
        command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, check=True
    )


def prefix(name: str, folder: Path) -> None:
    project = folder / "project"  # What is trusted is kept outside of it.
    project.mkdir(exist_ok=True)
    (project / "agent.yaml").write_text(AGENT)
    (project / "notes.txt").write_text("".join(f"line {number}\n" for number in range(500)))
    turns = [
        Turn(tool_calls=[("read", {"path": "notes.txt", "start_line": start, "end_line": start + 40})])
        for start in range(1, 200, 40)
    ]
    with WireServer() as server:
        server.script(*turns, Turn(text="done"))
        meshclaw = [sys.executable, "-m", "meshclaw"]
        variables = {**environment(folder), **addresses(server)}
        run([*meshclaw, "trust", "--yes", "agent.yaml"], variables, project)
        run([*meshclaw, "run", "agent.yaml", "--model", MODELS[name]], variables, project)
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


def used(pid: int) -> float:
    """CPU seconds of another process up to now, its ended threads included (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def until_asked(command: list[str], variables: dict[str, str], folder: Path) -> float:
    """CPU seconds of a command when its request arrives."""
    found: list[float] = []
    process: subprocess.Popen[bytes] | None = None

    def answer(request: Any) -> Turn:
        assert process is not None
        found.append(used(process.pid))
        return Turn(text="hi")

    with WireServer(responder=answer) as server:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**variables, **addresses(server)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        if process.wait() != 0:
            raise SystemExit(f"{command} failed")
    return found[0]


def first_request(name: str, runs: int, folder: Path) -> None:
    (folder / "one.yaml").write_text("prompt: hi\nrunner: prompt\n")
    ours: list[float] = []
    bare: list[float] = []
    variables = environment(folder)
    command = [sys.executable, "-m", "meshclaw", "run", "one.yaml", "--model", MODELS[name], "-q"]
    until_asked(command, variables, folder)  # which leaves bytecode for the others
    for _ in range(runs):
        ours.append(until_asked(command, variables, folder))
        bare.append(until_asked([sys.executable, "-c", SDK[name]], variables, folder))
    low, added, high = quantiles((1000 * (a - b) for a, b in zip(ours, bare, strict=True)), n=4)
    print(
        f"{name}: {median(ours):.2f} s CPU until the first request, the SDK's own client for the same call"
        f" {median(bare):.2f} s: {added:+.0f} ms ({low:+.0f} to {high:+.0f}; bound: 150 ms)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=41)
    options = parser.parse_args()
    overhead()
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            prefix(name, Path(folder))
            first_request(name, options.runs, Path(folder))


if __name__ == "__main__":
    main()
