"""A whole run with a scripted model, in a folder of its own: for tests of runners and dispatch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from meshclaw.budgets import Budget
from meshclaw.dispatch import Delegation, Dispatcher, House, Stop
from meshclaw.errors import LedgerError, ProviderError
from meshclaw.messages import ToolSpec
from meshclaw.policies import Effects, TaskPolicy
from meshclaw.pricing import Prices, Rates
from meshclaw.providers.base import Provider
from meshclaw.redaction import Redactor
from meshclaw.runners.agent import AgentRunner
from meshclaw.runners.base import Runner
from meshclaw.runs import Event, read_transcript
from meshclaw.tasks import Output, Task
from meshclaw.testing import MemoryLedger, ScriptedProvider, Turn
from meshclaw.tools.base import Tool, ToolContext, ToolError, ToolOutput

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class FakeTool:
    """A tool whose `do` gives the output; `effects` are the same for every call."""

    def __init__(
        self,
        name: str,
        do: Callable[[Mapping[str, Any]], str] | None = None,
        effects: Effects | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.spec = ToolSpec(name, f"the {name} tool", parameters or {"type": "object"})
        self._do = do or (lambda arguments: "done")
        self._effects = effects or Effects()
        self.calls: list[dict[str, Any]] = []

    def effects(self, arguments: Mapping[str, Any]) -> Effects:
        return self._effects

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolOutput:
        self.calls.append(dict(arguments))
        return ToolOutput(self._do(arguments))


def failing(message: str) -> Callable[[Mapping[str, Any]], str]:
    def do(arguments: Mapping[str, Any]) -> str:
        raise ToolError(message)

    return do


class FailingLedger(MemoryLedger):
    """Refuses the append of this number, counted from 1, and all after it, until `left` is set."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    async def append(self, *entries: Any) -> None:
        self.left -= 1
        if self.left <= 0:
            raise LedgerError("the ledger cannot be written: the disk is full")
        await super().append(*entries)


@dataclass
class RunBench:
    """`run()` carries out one run and keeps what it left: the record, ledger entries, events."""

    folder: Path
    turns: Sequence[Turn] = ()
    tools: Sequence[Tool] = ()
    runner: Runner = field(default_factory=AgentRunner)
    budget: Budget = field(default_factory=Budget)
    output: Output = field(default_factory=Output)
    provider: Any = None
    policy: TaskPolicy = field(default_factory=lambda: TaskPolicy(source="task.yaml"))
    propose: Sequence[str] = ()
    prompt: str = "Do it."
    model_id: str = "m"
    secrets: Sequence[str] = ()
    sandbox: Any = None
    rates: Rates = field(default_factory=lambda: Rates(Decimal(2), Decimal(10)))
    ledger: Any = field(default_factory=MemoryLedger)
    ledger_file: str | None = None
    retrying: Callable[[Provider, Callable[[int, ProviderError, float], None]], Provider] = (
        lambda inner, tell: inner
    )
    timeout: float = 60.0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.events: list[Event] = []
        self.numbers = 0
        self.project = self.folder / "project"
        self.project.mkdir(exist_ok=True)
        if self.provider is None:
            self.provider = ScriptedProvider(self.turns, free=False)

    def house(self) -> House:
        return House(
            ledger=self.ledger,
            history=self.ledger.read,
            prices=Prices({"scripted": self.rates}),
            runs=self.folder / "runs",
            redactor=Redactor(self.secrets),
            now=lambda: NOW,
            new_id=self._new_id,
            who="tester",
            host="here",
            listen=self.events.append,
            ledger_file=self.ledger_file,
        )

    def delegation(self) -> Delegation:
        return Delegation(
            task=Task(
                "job",
                self.prompt,
                source="task.yaml",
                propose=tuple(self.propose),
                output=self.output,
                digest="d" * 64,
            ),
            params={},
            project=self.project,
            prompt=self.prompt,
            system="",
            model="scripted/m",
            model_id=self.model_id,
            provider=self.provider,
            retrying=self.retrying,
            runner=self.runner,
            tools=self.tools,
            policy=self.policy,
            sandbox=self.sandbox,
            budget=self.budget,
            max_output=1_000,
            timeout=self.timeout,
            output_file=self.output.file,
            **self.options,
        )

    async def run(self, stop: Stop | None = None) -> dict[str, Any]:
        return await Dispatcher(self.house()).run(self.delegation(), stop)

    def transcript(self, number: int = 1) -> list[Event]:
        return list(read_transcript(self.folder / "runs" / f"run-{number}" / "transcript.jsonl"))

    def kinds(self) -> list[str]:
        return [event.kind for event in self.transcript()]

    def _new_id(self) -> str:
        self.numbers += 1
        return f"run-{self.numbers}"
