"""Files to begin with: a commented task and a commented meshclaw.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

SCHEMA_FILE = "task.schema.json"
_SCHEMA_LINE = re.compile(r"\A# yaml-language-server: \$schema=.*")

TASK = """\
# yaml-language-server: $schema=./task.schema.json
# Check with `meshclaw tasks check @NAME@`, look with `meshclaw run @NAME@ --dry-run`.
description: Say in one line what this task is for.

# prompt: one call, no tools. agent: works in steps with the tools named below.
runner: prompt
# model: fast                  # an alias or provider/model-id; without it, your default

params:
  style: {type: string, default: short, choices: [short, long], description: How much to write}

inputs:                        # gathered before the model is asked, at no cost
  text: {stdin: true, max: 200 KB}
  # log:  {file: logs/app.log, tail: 500 lines}
  # diff: {command: git diff}
  # docs: {glob: "docs/*.md"}

prompt: |
  Write a {{ style }} summary of this text.

  {{ text }}

# tools: [read, list, search, edit, write, shell]     # for runner: agent
# allow:                       # reading the project is allowed, all else only as named here
#   write: ["src/**"]
#   run: ["pytest *"]
# propose: ["git push *"]      # what a person is asked to do after the run
# accept:                      # what counts as done; all of it has to pass
#   - run: pytest -q
#   - changed: ["src/**"]
# output:
#   file: reports/@NAME@.md    # where the result goes as well
#   schema: {type: object, required: [title], properties: {title: {type: string}}}

budget: {usd: 0.10, steps: 2, time: 5m}
"""

SETTINGS = """\
# Settings of this project; `meshclaw config show` tells what holds and why.
# A project can narrow limits and choose among your providers; keys and wider limits belong into your own
# settings file.

# models:
#   fast: anthropic/claude-haiku-5-5
#   strong: openai/gpt-6.1-sol

# budget:                      # most that one run may take
#   usd: 0.50
#   tokens: 200k
#   steps: 30
#   time: 15m

# ledger: ledger.jsonl         # keep this project's spending beside it
# tasks: tasks                 # where the task files are
"""


def task_skeleton(name: str) -> str:
    """A task that loads as it is."""
    return TASK.replace("@NAME@", name)


def with_schema_beside(task: str) -> str:
    """A task file whose editor finds the schema beside it."""
    return _SCHEMA_LINE.sub(f"# yaml-language-server: $schema=./{SCHEMA_FILE}", task)


def write_schema(folder: Path, checks: Sequence[str]) -> None:
    """Puts the schema that editors read beside the tasks. An older one of ours is brought up to date.

    `checks` names the kinds of checks there are.
    """
    from meshclaw.tasks import task_json_schema

    path = folder / SCHEMA_FILE
    text = json.dumps(task_json_schema(checks), indent=2) + "\n"
    try:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        # Only an editor misses it.
        return
