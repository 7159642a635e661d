"""What starting costs: CPU seconds of light commands, as a multiple of a bare Typer app's.

    python benchmarks/startup.py [--runs 15]

Runs are interleaved, so that a busy machine is unfair to none; the median of each is compared: help with
the bare app's help, commands with a bare command that takes one option (Typer 0.29 imports pydantic as soon
as a command has an option that is not a flag). Also names the heavy modules that each command imports.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

BOUND = 2.5
BARE = """
import typer
app = typer.Typer(rich_markup_mode=None)

@app.command()
def hello(name: str = "you") -> None:
    "Says hello."

@app.command()
def bye() -> None:
    "Says bye."

app()
"""
HEAVY = (
    "anthropic",
    "openai",
    "httpx2",
    "xllamacpp",
    "genai_prices",
    "duckdb",
    "jsonschema",
    "rich",
    "anyio",
)
COMMANDS = (["--help"], ["tasks", "list"], ["tasks", "check"])


def cpu_seconds(command: list[str], cwd: Path, environment: dict[str, str]) -> float:
    """User and system time of one process, which must succeed."""
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.stderr is not None
    problem = process.stderr.read().decode()
    process.stderr.close()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} exits {process.returncode}: {problem}")
    return usage.ru_utime + usage.ru_stime


def heavy_imports(arguments: list[str], cwd: Path, environment: dict[str, str]) -> list[str]:
    """Which of HEAVY a command imports."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom meshclaw.cli.main import invoke\nimport os\n"
        f"invoke({arguments!r}, os.environ, Path.cwd())\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True
    )
    return done.stderr.strip().splitlines()[-1].split() if done.stderr.strip() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        environment = {**os.environ, "HOME": folder, "TERM": "dumb"}
        meshclaw = [sys.executable, "-m", "meshclaw"]
        subprocess.run([*meshclaw, "init"], cwd=project, env=environment, check=True, capture_output=True)
        bare = project / "bare.py"
        bare.write_text(BARE)
        bases = {"help": "bare --help", "command": "bare hello"}
        candidates = {f"bare {word}": [sys.executable, str(bare), word] for word in ("--help", "hello")}
        candidates |= {f"meshclaw {' '.join(one)}": [*meshclaw, *one] for one in COMMANDS}
        times: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(runs):
            for name, command in candidates.items():
                times[name].append(cpu_seconds(command, project, environment))
        worst = 0.0
        for name, measured in times.items():
            base = bases["help" if name.endswith("--help") else "command"]
            ratio = median(measured) / median(times[base])
            worst = max(worst, ratio)
            print(f"{name:22} {median(measured) * 1000:5.0f} ms CPU  {ratio:5.2f}x of {base}")
        for one in COMMANDS:
            heavy = heavy_imports(list(one), project, environment)
            print(f"meshclaw {' '.join(one)} imports {', '.join(heavy) or 'nothing heavy'}")
    print(f"worst: {worst:.2f}x (bound {BOUND}x)")
    raise SystemExit(worst > BOUND)


if __name__ == "__main__":
    main()
