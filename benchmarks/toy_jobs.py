"""Twelve small agent jobs, each with a check, run on the embedded model: how many are solved?

    python benchmarks/toy_jobs.py [--model local/qwen2.5-coder-1.5b] [--only NAME] [--keep]

Each job runs through `meshclaw run` in a folder of its own, with a shell (`--no-sandbox`) in which it
may do what the job needs. A job counts as solved when its check holds; a run that exits 0 although its
check fails is counted too, because that is what nobody wants to find out later.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Check = Callable[[Path, str], bool]


@dataclass(frozen=True)
class ToyJob:
    """`check(folder, answer)` says whether the job was done."""

    name: str
    prompt: str
    check: Check
    files: Mapping[str, str] = field(default_factory=dict)
    tools: str = "read, list, search, edit, write, shell"


def text_of(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def runs(code: str) -> Check:
    """The Python code, run in the job's folder, exits 0."""
    return lambda folder, _: (
        subprocess.run([sys.executable, "-c", code], cwd=folder, check=False).returncode == 0
    )


BUGGY = '''def add(a, b):
    """The sum of a and b."""
    return a - b
'''
PEOPLE = "name,age\nAda,36\nGrace,85\nLinus,54\n"
SOURCE = (
    "import os\n\n# TODO: handle errors\ndef load():\n    pass  # TODO: read the file\n\n\n# TODO: tests\n"
)

JOBS = [
    ToyJob(
        "create",
        'Create a file hello.txt that contains exactly the text "Hello, world".',
        lambda folder, _: text_of(folder / "hello.txt").strip() == "Hello, world",
    ),
    ToyJob(
        "count",
        "Count the lines of data.txt and write the number, and nothing else, to count.txt.",
        lambda folder, _: text_of(folder / "count.txt").split()[:1] == ["7"],
        {"data.txt": "".join(f"line {number}\n" for number in range(1, 8))},
    ),
    ToyJob(
        "rename",
        "Rename the file old.txt to new.txt.",
        lambda folder, _: text_of(folder / "new.txt") == "keep me\n" and not (folder / "old.txt").exists(),
        {"old.txt": "keep me\n"},
    ),
    ToyJob(
        "fix-bug",
        "The function add in calc.py gives wrong results. Fix it.",
        runs("import calc; assert calc.add(2, 3) == 5"),
        {"calc.py": BUGGY},
    ),
    ToyJob(
        "edit-json",
        'In config.json, set "debug" to false. Leave everything else as it is.',
        lambda folder, _: (
            json.loads(text_of(folder / "config.json") or "{}") == {"name": "api", "debug": False}
        ),
        {"config.json": '{\n  "name": "api",\n  "debug": true\n}\n'},
    ),
    ToyJob(
        "append",
        'Add the line "gamma" at the end of list.txt, after the lines that are there.',
        lambda folder, _: text_of(folder / "list.txt").split() == ["alpha", "beta", "gamma"],
        {"list.txt": "alpha\nbeta\n"},
    ),
    ToyJob(
        "replace",
        'In README.md, replace the word "colour" by "color".',
        lambda folder, _: text_of(folder / "README.md") == "# Paint\n\nPick a color for the wall.\n",
        {"README.md": "# Paint\n\nPick a colour for the wall.\n"},
    ),
    ToyJob(
        "find",
        'One of the files here contains the word "NEEDLE". Write the name of that file to found.txt.',
        lambda folder, _: text_of(folder / "found.txt").strip().removeprefix("./") == "b.txt",
        {"a.txt": "hay\n", "b.txt": "hay\nNEEDLE\n", "c.txt": "straw\n"},
    ),
    ToyJob(
        "oldest",
        "Read people.csv and answer with the name of the oldest person.",
        lambda _, answer: "Grace" in answer and "Linus" not in answer,
        {"people.csv": PEOPLE},
    ),
    ToyJob(
        "delete",
        "Delete the file temp.log.",
        lambda folder, _: not (folder / "temp.log").exists() and (folder / "app.log").exists(),
        {"temp.log": "old\n", "app.log": "new\n"},
    ),
    ToyJob(
        "package",
        'Create the file src/app/version.py with this one line: VERSION = "1.0"',
        runs("import sys; sys.path.insert(0, 'src/app'); import version; assert version.VERSION == '1.0'"),
    ),
    ToyJob(
        "todos",
        "How many TODO comments are there in main.py? Answer with the number.",
        lambda _, answer: "3" in answer or "three" in answer.lower(),
        {"main.py": SOURCE},
    ),
]

TASK = """\
description: {name}
runner: agent
prompt: {prompt}
tools: [{tools}]
allow:
  write: ["**"]
  run: ["*"]
budget: {{steps: 12, time: 10m}}
max_output: 800
"""


def run_job(job: ToyJob, model: str, folder: Path) -> tuple[bool, dict[str, object]]:
    """Whether the job was solved, and the run's record."""
    folder.mkdir(parents=True)
    for name, content in job.files.items():
        (folder / name).write_text(content)
    task = folder.parent / f"{job.name}.yaml"
    task.write_text(TASK.format(name=job.name, prompt=json.dumps(job.prompt), tools=job.tools))
    command = [
        sys.executable,
        "-m",
        "meshclaw",
        "run",
        str(task),
        "--model",
        model,
        "--no-sandbox",
        "--json",
    ]
    places = {
        "MESHCLAW_DATA_DIR": str(folder.parent / "data"),
        "MESHCLAW_LEDGER": str(folder.parent / "ledger.jsonl"),
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **places},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        record = json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"{job.name}: no record (exit {done.returncode})\n{done.stderr}") from None
    try:
        solved = job.check(folder, str(record.get("result") or ""))
    except (OSError, ValueError):
        solved = False
    return solved, record


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="local/qwen2.5-coder-1.5b")
    parser.add_argument("--only", action="append", help="run this job alone (can be repeated)")
    parser.add_argument("--keep", action="store_true", help="keep the folders and say where they are")
    options = parser.parse_args()
    jobs = [job for job in JOBS if not options.only or job.name in options.only]
    root = Path(tempfile.mkdtemp(prefix="meshclaw-toy-"))
    solved_count = silent = 0
    for job in jobs:
        started = time.perf_counter()
        solved, record = run_job(job, options.model, root / job.name / "project")
        solved_count += solved
        silent += not solved and record.get("exit") == 0
        print(
            f"{'solved' if solved else 'failed':7} {job.name:10} exit {record.get('exit')}  "
            f"{record.get('steps')} steps  {time.perf_counter() - started:5.1f} s  {record.get('reason')}",
            flush=True,
        )
    print(f"{options.model}: {solved_count} of {len(jobs)} solved, {silent} exited 0 without being solved")
    if options.keep:
        print(f"folders: {root}")
    else:
        subprocess.run(["rm", "-rf", str(root)], check=False)


if __name__ == "__main__":
    main()
