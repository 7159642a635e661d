"""Settings as values: what holds, and where each came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from meshclaw.budgets import BATCH_USD, Budget
from meshclaw.config.presets import PRESETS, TokensField
from meshclaw.errors import Problem, ProblemsError
from meshclaw.frozen import dataclass
from meshclaw.messages import Effort
from meshclaw.policies import Ceiling
from meshclaw.pricing import Rates

Layer = Literal["default", "operator", "project", "environment", "flag"]
"""Weakest first: each layer overrides those before it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: a file and position (1-based), an environment variable, or a flag."""

    layer: Layer = "default"
    source: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.source:
            return self.layer
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source

    def problem(self, message: str, hint: str = "") -> Problem:
        return Problem(self.source or self.layer, self.line, self.column, message, hint)


DEFAULT = Origin()


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a key is to be found, never the key itself: an environment variable, else a file."""

    env: str | None = None
    file: Path | None = None
    origin: Origin = DEFAULT

    def __str__(self) -> str:
        return f"${self.env}" if self.env else str(self.file)


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """How to reach one provider.

    `kind` is the entry point in `meshclaw.providers` that is made from it. `base_url` None is the SDK's
    own. `price` None means published prices, listed under `publisher` (None: unpriced). `trusted` is False
    for a server that only a project names; it has a `key` only if the operator bound one to its host.
    """

    name: str
    kind: str
    base_url: str | None = None
    key: KeySource | None = None
    price: Rates | None = None
    publisher: str | None = None
    window: int | None = None
    tokens_field: TokensField = "max_tokens"
    trusted: bool = True
    loopback: bool = False

    @property
    def free(self) -> bool:
        """Whether its calls cost nothing."""
        return self.price is not None and not any(Decimal(rate) for rate in self.price.as_text().values())


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """The operator's word on the sandbox. Sizes are in bytes, `cpu` in seconds."""

    use: Literal["auto", "bubblewrap", "landlock", "none"] = "auto"
    bubblewrap: Path | None = None
    read: tuple[Path, ...] = ()
    scratch: tuple[str, ...] = ()
    memory: int = 4 * 2**30
    processes: int = 512
    cpu: float = 3_600.0
    file_size: int = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Config:
    """What holds after all layers. `origins` has every key of `rows`, such as `budget.usd`.

    `ledger` and `data_dir` are None unless somebody named one; `timeout` is in seconds, for one call.
    `batch` bounds all runs of a batch together, in US dollars alone. `key_files` hold the operator's keys.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    providers: Mapping[str, ProviderSettings] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    batch: Budget = field(default_factory=lambda: Budget(BATCH_USD, None, None, None))
    ledger: Path | None = None
    data_dir: Path | None = None
    retries: int = 4
    timeout: float = 600.0
    max_output: int = 8_192
    effort: Effort | None = None
    tasks: Path = Path("tasks")
    policy: Ceiling = field(default_factory=Ceiling)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    operator_file: Path | None = None
    key_files: tuple[Path, ...] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def budget_for(self, stated: Budget) -> Budget:
        """The limits of a task that states `stated` (None: nothing stated).

        A task narrows the settings' limits; a limit from the environment or a flag overrides both.
        """
        narrowed = self.budget.narrowed(stated)

        def last_word(name: str) -> bool:
            return self.origins.get(f"budget.{name}", DEFAULT).layer in ("environment", "flag")

        return Budget(
            usd=self.budget.usd if last_word("usd") else narrowed.usd,
            tokens=self.budget.tokens if last_word("tokens") else narrowed.tokens,
            steps=self.budget.steps if last_word("steps") else narrowed.steps,
            time=self.budget.time if last_word("time") else narrowed.time,
            usd_stated=narrowed.usd_stated,
        )

    def provider(self, name: str, at: Origin = DEFAULT) -> ProviderSettings:
        """Raises ProblemsError for a provider that nobody has set up."""
        found = self.providers.get(name)
        if found is None:
            message, hint = unknown_provider(name, self.providers, self.operator_file)
            raise ProblemsError([Problem(at.source or "model", at.line, at.column, message, hint)])
        return found


def unknown_provider(
    name: str, known: Mapping[str, ProviderSettings], operator_file: Path | None
) -> tuple[str, str]:
    """Message and hint about a provider that is not among `known`."""
    message = f"unknown provider '{name}'"
    if name in PRESETS:
        where = operator_file or "the operator's settings"
        return message, f"set it up with `providers: {{{name}: {{}}}}` in {where}"
    return message, suggest(name, known)


def suggest(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """The hint about a name that is not among `known`."""
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(known))}"
