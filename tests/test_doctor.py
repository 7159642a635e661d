"""`meshclaw doctor`: every check on a machine where it holds and on one where it does not."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from cli_terminal import Cli, Terminal, trust_project
from contained import needs_bubblewrap
from file_server import FileServer

from meshclaw.app import App
from meshclaw.app.doctor import Finding, Look, State, defences, essentials, examine
from meshclaw.app.doctor.machine import running
from meshclaw.app.doctor.models import loads
from meshclaw.app.doctor.sandbox import SWITCHES, bubblewrap_here, namespaces, seccomp, used
from meshclaw.errors import LedgerError

CHECKS = {
    "model": "models",
    "keys": "models",
    "embedded": "models",
    "bubblewrap": "sandbox",
    "tasks": "trust",
}
"""Which check finds a topic that has not its name."""
KEY = "sk-ant-api03-abcdefghijklmnop"
POWERFUL = "prompt: hello\ntools: [read]\n"


class Place:
    """A project and its operator; `found("ledger")` gives the doctor's findings on a topic."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project, self.data = folder / "project", folder / "data"
        (self.project / "tasks").mkdir(parents=True)
        (self.project / ".git").mkdir()
        self.settings = folder / "config.yaml"
        self.environment = {
            **os.environ,
            "MESHCLAW_CONFIG": str(self.settings),
            "MESHCLAW_DATA_DIR": str(self.data),
        }

    def app(self) -> App:
        return App(self.environment, self.project)

    async def found(self, topic: str, check: Look | None = None) -> list[tuple[State, str]]:
        check = check or essentials()[CHECKS.get(topic, topic)]
        return [
            (one.state, f"{one.text} -> {one.remedy}")
            for one in await examine(self.app(), {topic: check})
            if one.topic == topic
        ]

    async def only(self, topic: str) -> tuple[State, str]:
        (one,) = await self.found(topic)
        return one

    def task(self, name: str, text: str) -> None:
        (self.project / "tasks" / f"{name}.yaml").write_text(text)


@pytest.fixture
def place(tmp_path: Path, home: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as running_server:
        running_server.files["/v1/models"] = b'{"data": [{"id": "qwen3"}]}'
        yield running_server


async def test_without_anything_no_model_can_answer(place: Place) -> None:
    place.environment["PATH"] = str(place.folder)
    state, text = await place.only("model")
    assert (state, "export ANTHROPIC_API_KEY" in text) == (State.FAILED, True)
    assert (await place.only("keys"))[0] == State.MISSING
    assert (await place.only("embedded"))[0] == State.MISSING
    assert (await place.only("git"))[0] == State.MISSING
    assert (await place.only("settings"))[0] == State.OK


async def test_a_key_is_shown_by_name_and_never_by_value(place: Place) -> None:
    place.environment["ANTHROPIC_API_KEY"] = KEY
    state, text = await place.only("model")
    assert (state, "models: {default: anthropic/" in text) == (State.WARNING, True)
    assert await place.only("keys") == (State.OK, "there: ANTHROPIC_API_KEY -> ")
    assert KEY not in repr(await examine(place.app(), {**essentials(), "k": defences()["keys"]}))


async def test_a_default_with_its_key_and_without(place: Place) -> None:
    place.settings.write_text("models: {default: fast, fast: anthropic/claude-haiku-5-5}\n")
    state, text = await place.only("model")
    assert (state, text.endswith("-> export ANTHROPIC_API_KEY=...")) == (State.FAILED, True)
    place.environment["ANTHROPIC_API_KEY"] = KEY
    assert (await place.only("model"))[0] == State.OK


@pytest.mark.parametrize(
    ("model", "state", "said"),
    [
        ("qwen3", State.OK, "mine/qwen3 is the default"),
        ("other", State.WARNING, "does not list"),
    ],
)
async def test_a_default_on_a_server_of_this_machine(
    place: Place, server: FileServer, model: str, state: State, said: str
) -> None:
    provider = {"base_url": f"{server.url}/v1"}
    settings = {"models": {"default": f"mine/{model}"}, "providers": {"mine": provider}}
    place.settings.write_text(json.dumps(settings))
    found = await place.only("model")
    assert (found[0], said in found[1]) == (state, True)


async def test_a_server_that_only_the_project_names_is_not_asked(place: Place, server: FileServer) -> None:
    settings = {"models": {"default": "x/y"}, "providers": {"x": {"base_url": f"{server.url}/v1"}}}
    (place.project / "meshclaw.yaml").write_text(json.dumps(settings))
    assert "was not asked" in (await place.only("model"))[1]
    assert server.asked == []
    place.settings.write_text(json.dumps(settings))
    (place.project / "meshclaw.yaml").unlink()
    await place.only("model")
    assert [path for path, _ in server.asked] == ["/v1/models"]


async def test_a_default_whose_server_does_not_answer(place: Place) -> None:
    with FileServer() as gone:
        url = f"{gone.url}/v1"
    settings = {"models": {"default": "mine/x"}, "providers": {"mine": {"base_url": url}}}
    place.settings.write_text(json.dumps(settings))
    state, text = await place.only("model")
    assert (state, f"nothing answers at {url}" in text) == (State.FAILED, True)


async def test_a_default_whose_weights_are_not_here(place: Place) -> None:
    place.settings.write_text("models: {default: local/qwen2.5-coder-0.5b}\n")
    state, text = await place.only("model")
    assert (state, "meshclaw models pull qwen2.5-coder-0.5b" in text) == (State.FAILED, True)


def test_what_runs_the_embedded_model_is_loaded_elsewhere() -> None:
    assert loads("json", {})
    assert not loads("no_such_runtime", {})


async def test_a_key_file_that_others_may_read(place: Place) -> None:
    key = place.folder / "key"
    key.write_text(KEY)
    key.chmod(0o644)
    provider = {"base_url": "https://llm.example.com/v1", "key_file": str(key)}
    place.settings.write_text(json.dumps({"providers": {"work": provider}}))
    assert [state for state, _ in await place.found("keys")] == [State.WARNING, State.MISSING]
    assert (await place.found("keys", defences()["keys"]))[0][0] == State.FAILED
    key.chmod(0o600)
    assert await place.only("keys") == (State.OK, f"there: {key} -> ")
    assert (await place.found("keys", defences()["keys"]))[0][0] == State.OK


async def test_every_mistake_in_the_settings_is_shown_and_the_rest_waits(place: Place) -> None:
    place.settings.write_text("modles: {}\nretries: many\n")
    found = await place.found("settings")
    assert [state for state, _ in found] == [State.FAILED, State.FAILED]
    assert "config.yaml:1:1: unknown key 'modles' -> did you mean 'models'?" in found[0][1]
    assert (await place.only("ledger"))[0] == State.WARNING
    assert "because settings cannot be read" in (await place.only("ledger"))[1]


def test_the_exit_code_and_the_json_say_the_same(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    cli = Cli(capsys, place.project, place.environment)
    code, out, _ = cli("doctor", "--json")
    said = json.loads(out)
    assert (code, said["ok"]) == (1, False)
    assert {tuple(one) for one in said["findings"]} == {("topic", "state", "text", "remedy")}
    cli.environment["ANTHROPIC_API_KEY"] = KEY
    code, out, err = cli("doctor")
    assert (code, err.startswith("a task could run here; ")) == (0, True)
    lines = [line for line in out.splitlines() if "  -> " not in line]
    assert {line.split()[0] for line in lines} <= {str(state) for state in State}
    assert len(lines) == len(said["findings"])


def test_in_a_terminal_lines_are_wrapped_in_their_column(place: Place) -> None:
    with Terminal(["doctor"], place.environment, place.project, columns=60) as terminal:
        assert terminal.finish() == 1
    assert "\x1b[1;31mfailed" in terminal.seen
    assert "must be mended before a task can run" in terminal.seen


async def test_nothing_but_the_cache_is_written(place: Place) -> None:
    place.environment["XDG_CACHE_HOME"] = str(place.folder.parent / "cache")

    def everything() -> list[Path]:
        return sorted(place.folder.rglob("*"))

    before = everything()
    await examine(place.app(), essentials())
    await examine(place.app(), {name: one for name, one in defences().items() if name != "sandbox"})
    assert everything() == before


async def test_the_ledger_before_the_first_run_and_where_none_can_be(place: Place) -> None:
    state, text = await place.only("ledger")
    assert (state, f"the first run begins {place.data / 'ledger.jsonl'}" in text) == (State.OK, True)
    (place.folder / "file").touch()
    place.environment["MESHCLAW_LEDGER"] = str(place.folder / "file" / "ledger.jsonl")
    assert (await place.only("ledger"))[0] == State.FAILED


async def _ledger(place: Place, change: Callable[[Path], object]) -> tuple[State, str]:
    place.data.mkdir(exist_ok=True)
    path = place.data / "ledger.jsonl"
    path.write_bytes(b"")
    path.chmod(0o600)
    change(path)
    return (await place.found("ledger"))[0]


@pytest.mark.parametrize(
    ("name", "state", "said"),
    [
        ("empty", State.OK, "mode 0600), its last line in order"),
        ("open", State.FAILED, "others may write"),
        ("torn", State.WARNING, "the next run mends it"),
        ("not a ledger", State.FAILED, "meshclaw ledger verify"),
        ("link", State.FAILED, "cannot be read"),
        ("folder", State.FAILED, "is not a regular file"),
    ],
)
async def test_a_ledger(place: Place, name: str, state: State, said: str) -> None:
    def link(path: Path) -> None:
        path.rename(path.with_name("other"))
        path.symlink_to("other")

    def folder(path: Path) -> None:
        path.unlink()
        path.mkdir()

    changes: Mapping[str, Callable[[Path], object]] = {
        "empty": lambda path: None,
        "open": lambda path: path.chmod(0o666),
        "torn": lambda path: path.write_bytes(b'{"kind": "ca'),
        "not a ledger": lambda path: path.write_bytes(b"once upon a time\n"),
        "link": link,
        "folder": folder,
    }
    found = await _ledger(place, changes[name])
    assert (found[0], said in found[1]) == (state, True), found


async def test_runs_that_a_killed_process_left_open(place: Place) -> None:
    assert (await place.only("runs"))[0] == State.OK
    run, active = place.data / "runs" / "01a20a01-859c-7b38", place.data / "active"
    run.mkdir(parents=True)
    active.mkdir()
    (active / run.name).touch()
    assert (await place.only("runs"))[0] == State.WARNING
    descriptor = os.open(run, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert (await place.only("runs"))[0] == State.OK
    finally:
        os.close(descriptor)


async def test_trust_and_tasks_with_mistakes(place: Place) -> None:
    assert (await place.only("trust"))[0] == State.OK
    place.task("fix", POWERFUL)
    place.task("bad", "promt: hello\n")
    state, text = await place.only("trust")
    assert (state, "not trusted yet: tasks/fix.yaml" in text) == (State.WARNING, True)
    assert (await place.only("tasks"))[0] == State.WARNING
    trust_project(place.project, place.environment)
    assert await place.only("trust") == (State.OK, "of this project, trusted: tasks/fix.yaml -> ")


def test_cron_daemons_are_seen_by_name(tmp_path: Path) -> None:
    for number, name in (("7", "crond\n"), ("8", "bash\n"), ("9", "cron\n")):
        (tmp_path / number).mkdir()
        (tmp_path / number / "comm").write_text(name)
    (tmp_path / "10").mkdir()
    assert [name for name in running(tmp_path) if name != "systemd"] == ["cron", "crond"]


async def test_what_a_job_would_not_have(place: Place) -> None:
    place.environment["ANTHROPIC_API_KEY"] = KEY
    place.settings.write_text("models: {default: anthropic/claude-haiku-5-5}\n")
    del place.environment["HOME"]
    said = [text for _, text in await place.found("cron")]
    assert any("HOME is not set: the account's home" in text for text in said)
    assert any("a job does not see the ANTHROPIC_API_KEY of this shell" in text for text in said)
    assert any("`meshclaw`" in text for text in said)


@needs_bubblewrap
async def test_the_sandbox_is_tried(place: Place) -> None:
    assert await place.only("sandbox") == (State.OK, "bubblewrap holds the commands of runs -> ")
    found = await bubblewrap_here(place.app())
    assert (found.state, "holds a command (tried)" in found.text) == (State.OK, True)


@needs_bubblewrap
async def test_a_project_that_holds_the_home_folder(place: Place) -> None:
    place.environment["HOME"] = str(place.project / "home")
    found = await used(place.app())
    assert (found.state, "holds the home folder" in found.text) == (State.WARNING, True)


async def test_a_sandbox_that_the_settings_switch_off(place: Place) -> None:
    place.settings.write_text("sandbox: none\n")
    found = await used(place.app())
    assert (found.state, f"{place.settings}:1:10 says so" in found.text) == (State.WARNING, True)


async def test_a_sandbox_that_does_not_work(place: Place) -> None:
    shim = place.folder / "bwrap"
    place.settings.write_text(f"sandbox: {{use: bubblewrap, bubblewrap: {shim}}}\n")
    assert (await used(place.app())).state == State.FAILED
    assert (await bubblewrap_here(place.app())).state == State.MISSING
    shim.write_text("#!/bin/sh\nexit 0\n")
    for mode, said in ((0o777, "can be changed by others"), (0o755, "does not hold a command")):
        shim.chmod(mode)
        found = await bubblewrap_here(place.app())
        assert (found.state, said in found.text) == (State.WARNING, True)


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch[0])
def test_settings_of_the_kernel_that_forbid_namespaces(
    tmp_path: Path, switch: tuple[str, str, str]
) -> None:
    name, forbids, remedy = switch
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text(f"{1 - int(forbids)}\n")
    assert namespaces(tmp_path).state == State.OK
    path.write_text(f"{forbids}\n")
    found = namespaces(tmp_path)
    assert (found.state, found.remedy) == (State.WARNING, f"as root: {remedy}")


def test_a_kernel_without_system_call_filters(tmp_path: Path) -> None:
    assert seccomp(tmp_path).state == State.WARNING
    actions = tmp_path / "kernel" / "seccomp" / "actions_avail"
    actions.parent.mkdir(parents=True)
    actions.write_text("kill_process errno\n")
    assert "user_notif" in seccomp(tmp_path).text
    actions.write_text("kill_process errno user_notif log\n")
    assert seccomp(tmp_path).state == State.OK


def _fails(_: App) -> list[Finding]:
    raise LedgerError("the disk is on fire", hint="run")


def _is_wrong(_: App) -> list[Finding]:
    raise ZeroDivisionError("oh")


async def test_a_check_that_raises_is_a_finding(place: Place) -> None:
    found = await examine(place.app(), {"a": _fails, "b": _is_wrong}, 30.0)
    assert found[0] == Finding("a", State.FAILED, "the disk is on fire", "run")
    assert found[1].text == "this check itself failed: ZeroDivisionError: oh"


async def test_a_check_that_never_ends_is_a_finding(place: Place) -> None:
    held = threading.Event()

    def waits(_: App) -> list[Finding]:
        held.wait()
        return []

    async def sleeps(_: App) -> list[Finding]:
        import anyio

        await anyio.sleep_forever()
        return []

    found = await examine(place.app(), {"a": waits, "b": sleeps}, 0.05)
    held.set()
    assert [one.text for one in found] == ["no answer within 0.05 s"] * 2
