"""The one table of settings: it validates, `config show` and docs/settings.md are made from it."""

from __future__ import annotations

from meshclaw.budgets import BATCH_USD, Budget
from meshclaw.config.setting import By, Setting
from meshclaw.messages import DEFAULT_MAX_OUTPUT, EFFORTS, MINIMUM_MAX_OUTPUT
from meshclaw.policies import host_pattern_problem, run_pattern_problem, write_pattern_problem

_BUDGET = Budget()


def _scratch_problem(text: str) -> str | None:
    parts = text.split("/")
    return "not a folder's name beneath the project" if {"", ".", "..", ".git"} & set(parts) else None


SCALARS: tuple[Setting, ...] = (
    Setting(
        "budget.usd",
        "usd",
        "Most US dollars of one run.",
        by="narrower",
        default=_BUDGET.usd,
        env="MESHCLAW_BUDGET_USD",
        flag="--budget usd",
        limit=True,
        most=1_000_000,
    ),
    Setting(
        "budget.tokens",
        "count",
        "Most tokens of one run, cache reads not counted: `200k`.",
        by="narrower",
        default=_BUDGET.tokens,
        env="MESHCLAW_BUDGET_TOKENS",
        flag="--budget tokens",
        limit=True,
        least=1,
    ),
    Setting(
        "budget.steps",
        "count",
        "Most steps (model responses) of one run.",
        by="narrower",
        default=_BUDGET.steps,
        env="MESHCLAW_BUDGET_STEPS",
        flag="--budget steps",
        limit=True,
        least=1,
    ),
    Setting(
        "budget.time",
        "duration",
        "Most time of one run: `15m`.",
        by="narrower",
        default=_BUDGET.time,
        env="MESHCLAW_BUDGET_TIME",
        flag="--budget time",
        limit=True,
        least=1,
        most=365 * 86_400,
    ),
    Setting(
        "batch.usd",
        "usd",
        "Most US dollars of all runs of one batch together (a matrix, or a task with what it needs).",
        by="narrower",
        default=BATCH_USD,
        env="MESHCLAW_BATCH_USD",
        flag="--budget usd",
        limit=True,
        most=1_000_000,
    ),
    Setting(
        "ledger",
        "path",
        "The ledger's file.",
        by="beneath",
        unset="ledger.jsonl in data_dir",
        env="MESHCLAW_LEDGER",
    ),
    Setting(
        "data_dir",
        "path",
        "The folder that holds runs and, unless set apart, the ledger.",
        unset="the user's data folder",
        env="MESHCLAW_DATA_DIR",
    ),
    Setting(
        "retries",
        "count",
        "How often a call that failed for a passing reason is tried again.",
        default=4,
        least=0,
        most=20,
    ),
    Setting(
        "timeout",
        "duration",
        "Most time of one call.",
        by="narrower",
        default=600.0,
        least=1,
        most=86_400,
    ),
    Setting(
        "max_output",
        "count",
        "Most tokens of one response.",
        by="narrower",
        default=DEFAULT_MAX_OUTPUT,
        least=MINIMUM_MAX_OUTPUT,
        most=1_000_000,
    ),
    Setting(
        "effort",
        "choice",
        "How hard a reasoning model should think.",
        by="both",
        unset="the model's own",
        choices=EFFORTS,
    ),
    Setting(
        "tasks",
        "path",
        "The project's folder of task files.",
        by="project",
        unset="tasks",
    ),
    Setting(
        "policy.write",
        "texts",
        "What any task may write at most, whatever its `allow.write` says: a list of globs.",
        unset="what the task says",
        wrong=write_pattern_problem,
    ),
    Setting(
        "policy.run",
        "texts",
        "What any task may run at most, whatever its `allow.run` says: a list of command patterns.",
        unset="what the task says",
        wrong=run_pattern_problem,
    ),
    Setting(
        "policy.network",
        "texts",
        "What any task may connect to at most, whatever its `allow.network` says: a list of hosts.",
        unset="what the task says",
        wrong=host_pattern_problem,
    ),
    Setting(
        "policy.propose",
        "texts",
        "What any task may propose at most, whatever its `propose` says: a list of command patterns.",
        unset="what the task says",
        wrong=run_pattern_problem,
    ),
    Setting(
        "policy.accept_risk",
        "bool",
        "Whether a task's `accept_risk` lets it read untrusted text, reach private data and act outward.",
        default=False,
    ),
    Setting(
        "sandbox.use",
        "choice",
        "What holds the commands of a run; `auto` is the best that works here, and `sandbox: none` none.",
        default="auto",
        choices=("auto", "bubblewrap", "landlock", "none"),
    ),
    Setting(
        "sandbox.bubblewrap",
        "path",
        "The program bubblewrap; it is never looked for on PATH.",
        unset="where systems have it",
    ),
    Setting(
        "sandbox.read",
        "texts",
        "Further files and folders that commands may read: a list of paths.",
        unset="the system's, and what PATH leads to",
    ),
    Setting(
        "sandbox.scratch",
        "texts",
        "Further folders of the project that are private and writable for one run: a list of names.",
        unset="none besides usual caches and build outputs",
        wrong=_scratch_problem,
    ),
    Setting(
        "sandbox.memory",
        "bytes",
        "Most memory of one command with all that it starts: `4 GiB`.",
        default=4 * 2**30,
        least=16 * 2**20,
    ),
    Setting(
        "sandbox.processes",
        "count",
        "Most processes of one command at once.",
        default=512,
        least=4,
    ),
    Setting(
        "sandbox.cpu",
        "duration",
        "Most CPU time of one command, on all cores together.",
        default=3_600.0,
        least=1,
    ),
    Setting(
        "sandbox.file_size",
        "bytes",
        "Most bytes of one file that a command writes.",
        default=4 * 2**30,
        least=2**20,
    ),
)

DEFAULT_MODEL = Setting(
    "models.default",
    "model",
    "The model of tasks that name none.",
    by="both",
    unset="in a terminal, what is found",
    env="MESHCLAW_MODEL",
    flag="--model",
)
MODEL = Setting(
    "models.NAME",
    "model",
    "An alias, such as `fast` or `strong`: a `provider/model-id` or another alias.",
    by="both",
)
KEY_FIELDS: tuple[Setting, ...] = (
    Setting("key_env", "text", "The environment variable that holds the key."),
    Setting("key_file", "path", "A file that holds the key: mode 0600, owned by the user."),
)
PROVIDER_FIELDS: tuple[Setting, ...] = (
    Setting(
        "kind",
        "choice",
        "What it speaks: `openai-chat` (Chat Completions), `openai-responses`, `anthropic`.",
        by="both",
        unset="openai-chat",
    ),
    Setting("base_url", "url", "Where it is: `https://host/v1`. A preset has its own.", by="both"),
    *KEY_FIELDS,
    Setting(
        "price",
        "price",
        "`free`, `published`, or `{input, output, cache_read, cache_write}` in USD per million tokens.",
        unset="free on this machine, else published",
    ),
    Setting("window", "count", "The models' context length in tokens: `32k`.", by="both", least=1_024),
    Setting(
        "max_tokens_field",
        "choice",
        "What a Chat Completions server calls the output limit.",
        by="both",
        unset="max_tokens",
        choices=("max_tokens", "max_completion_tokens"),
    ),
)

SECTIONS: dict[str, By] = {"models": "both", "providers": "both", "keys": "operator"}
"""Tables whose keys are names that people choose."""
