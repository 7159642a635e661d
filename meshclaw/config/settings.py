"""The one table of settings: it validates, `config show` and docs/settings.md are made from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from meshclaw.budgets import Budget
from meshclaw.messages import DEFAULT_MAX_OUTPUT, EFFORTS, MINIMUM_MAX_OUTPUT
from meshclaw.units import parse_count, parse_duration, parse_usd

Kind = Literal["text", "path", "choice", "count", "duration", "usd", "model", "url", "price"]

By = Literal["operator", "project", "both", "narrower", "beneath"]
WHO: dict[By, str] = {
    "operator": "operator",
    "project": "project (beneath it)",
    "both": "operator, project",
    "narrower": "operator; project may narrow it",
    "beneath": "operator; project beneath itself",
}
"""Who may set a setting in a file. Environment and flags are always the operator's."""

UNLIMITED = "unlimited"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key. `NAME` or `HOST` in it stands for any name. `unset` says what holds when `default` is None.

    `limit` allows the word `unlimited`, which is None. `least` and `most` are inclusive.
    """

    key: str
    kind: Kind
    description: str
    by: By = "operator"
    default: Any = None
    unset: str = ""
    env: str | None = None
    flag: str | None = None
    limit: bool = False
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()

    def parse(self, text: str) -> Any:
        """The value that `text` stands for. Raises ValueError with a reason."""
        if self.limit and text == UNLIMITED:
            return None
        if not text.strip():
            raise ValueError("there is no value")
        if self.choices and text not in self.choices:
            raise ValueError(f"'{text}' is not one of {', '.join(self.choices)}")
        value = _PARSERS.get(self.kind, str)(text)
        if self.least is not None and value < self.least:
            raise ValueError(f"'{text}' is too small: at least {self.show(self.least)}")
        if self.most is not None and value > self.most:
            raise ValueError(f"'{text}' is too much: at most {self.show(self.most)}")
        return value

    def show(self, value: Any) -> str:
        """`value` as a person would write it."""
        if value is None:
            return UNLIMITED if self.limit else self.unset
        return format_duration(value) if self.kind == "duration" else str(value)


_PARSERS: dict[Kind, Callable[[str], Any]] = {
    "usd": parse_usd,
    "count": parse_count,
    "duration": parse_duration,
}

_BUDGET = Budget()

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


def format_duration(seconds: float) -> str:
    """`5400.0` -> `1h30m`; what is shorter than a second is in `ms`."""
    left = int(Decimal(str(seconds)) * 1_000)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
