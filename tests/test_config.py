"""Layers of settings: what overrides what, what a project may say, and where each value came from."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.budgets import NO_LIMITS, Budget
from meshclaw.config import Config, load_config
from meshclaw.config.setting import format_duration
from meshclaw.config.settings import SCALARS
from meshclaw.config.show import rows, settings_page
from meshclaw.errors import ProblemsError
from meshclaw.units import parse_duration

ROOT = Path(__file__).parent.parent


class Files:
    """An operator's and a project's settings file."""

    def __init__(self, folder: Path) -> None:
        self.operator = folder / "config" / "config.yaml"
        self.project = folder / "project" / "meshclaw.yaml"
        self.operator.parent.mkdir()
        self.project.parent.mkdir()

    def load(
        self, operator: str = "", project: str = "", flags: dict[str, str] | None = None, **env: str
    ) -> Config:
        self.operator.write_text(operator)
        self.project.write_text(project)
        return load_config(self.operator, self.project, env, flags)

    def problems(
        self, operator: str = "", project: str = "", flags: dict[str, str] | None = None, **env: str
    ) -> str:
        with pytest.raises(ProblemsError) as caught:
            self.load(operator, project, flags, **env)
        return (
            str(caught.value).replace(f"{self.operator.parent}/", "").replace(f"{self.project.parent}/", "")
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_without_any_settings_the_defaults_hold() -> None:
    config = load_config(None, None, {})
    assert config.budget == Budget()
    assert (config.retries, config.timeout, config.max_output) == (4, 600.0, 8192)
    assert (config.ledger, config.data_dir, config.effort) == (None, None, None)
    assert config.models == {}
    assert {str(row.origin) for row in rows(config)} == {"default"}


def test_missing_files_set_nothing(tmp_path: Path) -> None:
    config = load_config(tmp_path / "a.yaml", tmp_path / "meshclaw.yaml", {})
    assert config.budget == Budget()
    assert config.tasks == tmp_path / "tasks"


def test_each_layer_overrides_the_one_before(files: Files) -> None:
    operator = "budget: {usd: 5, tokens: 1M, steps: 40, time: 2h}\n"
    project = "budget: {tokens: 800k, steps: 30, time: 1h}\n"
    config = files.load(
        operator,
        project,
        {"budget.time": "3h"},
        MESHCLAW_BUDGET_STEPS="99",
        MESHCLAW_BUDGET_TIME="1m",
    )
    assert config.budget == Budget(Decimal(5), 800_000, 99, 10_800.0, usd_stated=True)
    origins = {name: str(config.origins[f"budget.{name}"]) for name in ("usd", "tokens", "steps", "time")}
    assert origins == {
        "usd": f"{files.operator}:1:15",
        "tokens": f"{files.project}:1:18",
        "steps": "MESHCLAW_BUDGET_STEPS",
        "time": "--budget time",
    }


def test_amounts_are_exact_and_an_unstated_limit_is_not_a_stated_one(files: Files) -> None:
    assert files.load("budget: {usd: 0.1}").budget.usd == Decimal("0.1")
    assert files.load("budget: {usd: 0.1}").budget.usd_stated
    assert not files.load("budget: {steps: 3}").budget.usd_stated


def test_the_operator_may_remove_a_limit(files: Files) -> None:
    assert files.load("budget: {usd: unlimited, time: unlimited}").budget == Budget(
        None, time=None, usd_stated=True
    )
    assert files.load(MESHCLAW_BUDGET_USD="unlimited").budget.usd is None


@pytest.mark.parametrize(
    "wide", ["budget: {usd: 2}", "budget: {usd: unlimited}", "timeout: 1h", "max_output: 9k"]
)
def test_a_project_never_widens_a_limit(files: Files, wide: str) -> None:
    found = files.problems(project=wide)
    assert "is wider than the operator's limit" in found
    assert "move it to config.yaml" in found


def test_a_project_may_narrow_to_the_very_limit(files: Files) -> None:
    assert files.load("budget: {usd: 2}", "budget: {usd: 2.00}").budget.usd == Decimal(2)


@pytest.mark.parametrize(
    "line",
    ["data_dir: here", "retries: 1", "keys: {example.org: {key_env: KEY}}"],
)
def test_what_only_the_operator_may_set(files: Files, line: str) -> None:
    key = line.partition(":")[0]
    assert files.problems(project=line) == (
        f"meshclaw.yaml:1:1: only the operator's settings may set '{key}' - move it to config.yaml"
    )
    assert files.load(operator=line)


def test_a_task_narrows_and_a_flag_overrides(files: Files) -> None:
    config = files.load("budget: {usd: 2, steps: 10}", flags={"budget.steps": "500"})
    budget = config.budget_for(Budget(Decimal(5), 1_000, 5, 60.0, usd_stated=True))
    assert budget == Budget(Decimal(2), 1_000, 500, 60.0, usd_stated=True)
    assert config.budget_for(NO_LIMITS) == config.budget


def test_the_default_model_comes_from_the_environment_or_a_flag(files: Files) -> None:
    operator = "models: {default: anthropic/a, fast: openai/b}"
    assert files.load(operator, MESHCLAW_MODEL="fast").models["default"] == "fast"
    config = files.load(operator, flags={"models.default": "local/x"}, MESHCLAW_MODEL="fast")
    assert config.models["default"] == "local/x"
    assert str(config.origins["models.default"]) == "--model"


def test_an_empty_variable_says_nothing(files: Files) -> None:
    assert files.load(MESHCLAW_LEDGER="", MESHCLAW_BUDGET_USD="") == files.load()


def test_paths(files: Files) -> None:
    config = files.load("ledger: ~/l.jsonl\ndata_dir: ../data", HOME="/home/someone")
    assert config.ledger == Path("/home/someone/l.jsonl")
    assert config.data_dir == files.operator.parent / "../data"
    config = files.load(project="ledger: spend/l.jsonl\ntasks: jobs", MESHCLAW_DATA_DIR="/data")
    assert config.ledger == files.project.parent / "spend/l.jsonl"
    assert config.tasks == files.project.parent / "jobs"
    assert config.data_dir == Path("/data")
    assert "HOME is not set" in files.problems("ledger: ~/l.jsonl")


@pytest.mark.parametrize("path", ["/tmp/l", "../l", "a/../../l", "~/l", "out/l"])
@pytest.mark.parametrize("key", ["ledger", "tasks"])
def test_a_projects_paths_stay_beneath_it(files: Files, key: str, path: str) -> None:
    (files.project.parent / "out").symlink_to("/tmp")
    assert f"meshclaw.yaml:1:{len(key) + 3}: '{path}'" in files.problems(project=f"{key}: {path}")


def test_tasks_belong_to_a_project(files: Files) -> None:
    assert "'tasks' belongs to a project" in files.problems("tasks: jobs")


def test_all_problems_of_all_layers_at_once(files: Files) -> None:
    operator = "budjet: {usd: 1}\nbudget:\n  usd: lots\n  step: 3\nretries: [1]\n"
    project = "budget: none\neffort: enormous\n"
    found = files.problems(operator, project, {"budget.time": "5"}, MESHCLAW_BUDGET_TOKENS="-1")
    assert sorted(found.splitlines()) == [
        "--budget time: '5' is not a duration: write 90s, 15m or 1h30m",
        "MESHCLAW_BUDGET_TOKENS: '-1' is not a whole number: write 500, 200k or 1M",
        "config.yaml:1:1: unknown key 'budjet' - did you mean 'budget'?",
        "config.yaml:3:8: budget.usd: 'lots' is not an amount in US dollars: write 0.50",
        "config.yaml:4:3: unknown key 'step' - did you mean 'steps'?",
        "config.yaml:5:10: 'retries' takes one value, not a list",
        "meshclaw.yaml:1:9: 'budget' takes a mapping of names to values",
        "meshclaw.yaml:2:9: effort: 'enormous' is not one of low, medium, high",
    ]


def test_yaml_that_is_not_read_hides_no_other_problem(files: Files) -> None:
    found = files.problems(
        "models: &m {a: x/y}\nretries: 1\nretries: 2\nproviders:\n  x: {<<: *m, base_url: 3}\n"
        "budget: {usd: !!str 5, tokens: many}\n"
    )
    assert [line.partition(" - ")[0] for line in found.splitlines()] == [
        "config.yaml:1:9: anchor '&m'",
        "config.yaml:1:13: unknown key 'a'",
        "config.yaml:3:1: duplicate key 'retries'",
        "config.yaml:5:7: merge key '<<'",
        "config.yaml:5:11: alias '*m'",
        "config.yaml:5:25: '3' is not a URL: write https://host/v1",
        "config.yaml:6:15: tag '!!str'",
        "config.yaml:6:32: budget.tokens: 'many' is not a whole number: write 500, 200k or 1M",
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("budget: {steps: 0}", "too small: at least 1"),
        ("budget: {usd: -1}", "not an amount"),
        ("budget: {usd: 1e999999999}", "not an amount"),
        ("budget: {usd: nan}", "not an amount"),
        ("budget: {usd: true}", "not an amount"),
        ("budget: {usd: }", "there is no value"),
        ("max_output: 100", "too small: at least 512"),
        ("timeout: 2d", "too much: at most 1d"),
        ("retries: 21", "too much: at most 20"),
        ("- a", "settings are a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_values_that_cannot_be(files: Files, line: str, complaint: str) -> None:
    assert complaint in files.problems(line)


def test_a_file_that_cannot_be_read_is_said(files: Files, tmp_path: Path) -> None:
    with pytest.raises(ProblemsError, match="cannot be read: Is a directory"):
        load_config(tmp_path, None, {})


def test_an_alias_leads_to_a_model(files: Files) -> None:
    operator = "models:\n  a: b\n  b: a\n  c: nosuch/x\n  d: fsat\n  fast: openai/\n  e: openrouter/x\n"
    assert files.problems(operator).splitlines() == [
        "config.yaml:2:6: alias 'a' leads back to itself",
        "config.yaml:3:6: alias 'b' leads back to itself",
        "config.yaml:4:6: unknown provider 'nosuch' - known: anthropic, llamacpp, lmstudio, local, ollama,"
        " openai, replay, vllm",
        "config.yaml:5:6: unknown model 'fsat' - did you mean 'fast'?; or write provider/model-id",
        "config.yaml:6:9: 'openai/' is not a model - write provider/model-id",
        "config.yaml:7:6: unknown provider 'openrouter' - set it up with"
        " `providers: {openrouter: {}}` in config.yaml",
    ]


def test_a_projects_alias_leads_to_a_provider_of_the_operators(files: Files) -> None:
    project = "models: {fast: lab/small}"
    assert "unknown provider 'lab'" in files.problems(project=project)
    config = files.load("providers: {lab: {base_url: 'https://lab.example/v1'}}", project)
    assert config.models == {"fast": "lab/small"}


def test_rows_show_every_scalar_with_its_origin(files: Files) -> None:
    shown = {row.key: (row.value, str(row.origin)) for row in rows(files.load("budget: {time: 90m}"))}
    assert {one.key for one in SCALARS} <= set(shown)
    assert shown["budget.time"] == ("1h30m", f"{files.operator}:1:16")
    assert shown["budget.usd"] == ("1", "default")
    assert shown["models.default"] == ("in a terminal, what is found", "default")


def test_the_page_about_settings_is_the_tables() -> None:
    """Run `make docs` when this fails."""
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page()


@given(st.integers(min_value=1, max_value=10**12))
def test_a_duration_is_shown_as_it_is_read(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000
