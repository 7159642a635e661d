"""`meshclaw doctor --security`: each defence where it stands and where it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_doctor import KEY, Place

from meshclaw.app.doctor import State, defences

CHECKS = {"rule of two": "ceiling", "trust store": "store", "PATH": "path"}
"""Which check finds a topic that has not its name."""


@pytest.fixture
def place(tmp_path: Path, home: Path) -> Place:
    return Place(tmp_path)


async def look(place: Place, topic: str) -> list[tuple[State, str]]:
    return await place.found(topic, defences()[CHECKS.get(topic, topic)])


PROCESS = """
import ctypes, os, sys
from meshclaw.app.doctor.safety import process
ctypes.CDLL(None).prctl(4, int(sys.argv[1]), 0, 0, 0)
print(next(iter(process(None))).state)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are closed on Linux only")
@pytest.mark.parametrize(("dumpable", "state"), [("0", "ok"), ("1", "warning")])
def test_a_process_that_is_closed_and_one_that_is_not(dumpable: str, state: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, dumpable], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == state


async def test_an_account_of_root_is_told(place: Place) -> None:
    found = await place.found("account", defences()["process"])
    assert [state for state, _ in found] == [State.WARNING] * (os.geteuid() == 0)


async def test_a_ceiling(place: Place) -> None:
    ((state, text),) = await look(place, "ceiling")
    assert (state, "policy: {write: [...], run: [...], network: [...]}" in text) == (State.WARNING, True)
    place.settings.write_text("policy: {write: [src/**], run: []}\n")
    states = [state for state, _ in await look(place, "ceiling")]
    assert states == [State.OK, State.WARNING]
    place.settings.write_text("policy: {write: [src/**], run: [], network: []}\n")
    assert [state for state, _ in await look(place, "ceiling")] == [State.OK]


async def test_the_rule_of_two(place: Place) -> None:
    assert [state for state, _ in await look(place, "rule of two")] == [State.OK]
    place.settings.write_text("policy: {accept_risk: true}\n")
    ((state, text),) = await look(place, "rule of two")
    assert (state, f"{place.settings}:1:" in text) == (State.WARNING, True)


async def test_settings_that_others_may_write(place: Place) -> None:
    place.settings.write_text("")
    place.settings.chmod(0o600)
    assert [state for state, _ in await look(place, "settings")] == [State.OK]
    place.settings.chmod(0o620)
    ((state, text),) = await look(place, "settings")
    assert (state, "(mode 0620) -> look at it, then `chmod go-w" in text) == (State.FAILED, True)
    place.settings.chmod(0o600)
    place.folder.chmod(0o777)
    assert [state for state, _ in await look(place, "settings")] == [State.FAILED]
    place.folder.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_settings_of_somebody_else(place: Place) -> None:
    place.settings.write_text("")
    os.chown(place.settings, 12_345, -1)
    ((state, text),) = await look(place, "settings")
    assert (state, "belongs to user 12345" in text) == (State.FAILED, True)


async def test_keys_of_the_shell(place: Place) -> None:
    assert await look(place, "keys") == [(State.OK, "there are none -> ")]
    place.environment["OPENAI_API_KEY"] = KEY
    ((state, text),) = await look(place, "keys")
    assert (state, text.startswith("OPENAI_API_KEY: ")) == (State.WARNING, True)


async def test_a_trust_store_that_others_may_write(place: Place) -> None:
    assert await look(place, "trust store") == [(State.OK, "nothing is trusted yet -> ")]
    place.data.mkdir()
    store = place.data / "trust.json"
    store.write_text('{"version": 1, "projects": {}}')
    store.chmod(0o666)
    ((state, text),) = await look(place, "store")
    assert (state, "others may write" in text) == (State.FAILED, True)


async def test_folders_on_path_that_others_may_write(place: Place) -> None:
    safe = place.folder / "safe"
    everybodys = place.folder / "everybodys"
    groups = place.folder / "groups"
    for folder, mode in ((safe, 0o755), (everybodys, 0o777), (groups, 0o775)):
        folder.mkdir()
        folder.chmod(mode)
    place.environment["PATH"] = f"{safe}:{place.folder / 'absent'}"
    assert [state for state, _ in await look(place, "PATH")] == [State.OK]
    place.environment["PATH"] = f"{safe}::bin:{everybodys}:{groups}"
    found = await look(place, "PATH")
    assert [state for state, _ in found] == [State.WARNING] * 4
    for (_, text), said in zip(found, ("an empty entry", "bin: means", "everybody", "group"), strict=True):
        assert said in text


async def test_folders_on_path_that_a_project_fills(place: Place) -> None:
    for folder in (place.project / "bin", place.folder / "bin"):
        folder.mkdir()
    (place.folder / "link").symlink_to(place.project / "bin")
    for inside in (place.project / "bin", place.folder / "link", place.folder / "bin/../link"):
        place.environment["PATH"] = f"{place.folder}/bin:{inside}"
        ((state, text),) = await look(place, "PATH")
        assert (state, f"{inside}: lies in this project" in text) == (State.WARNING, True)
    place.environment["PATH"] = f"{place.folder}/bin"
    assert [state for state, _ in await look(place, "PATH")] == [State.OK]
