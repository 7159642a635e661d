"""Files to begin with: a commented task and a commented meshclaw.yaml."""

from __future__ import annotations

TASK = """\
# yaml-language-server: $schema=@SCHEMA@
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


def task_skeleton(name: str, schema: str = "./task.schema.json") -> str:
    """A task that loads as it is."""
    return TASK.replace("@NAME@", name).replace("@SCHEMA@", schema)
