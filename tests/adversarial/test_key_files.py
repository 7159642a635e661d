"""A key kept in a file of the project: neither commands nor file tools get at it, in whatever disguise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_terminal import Cli
from contained import Bench, needs_bubblewrap
from wire_server import Turn, WireServer

from meshclaw.sandbox.base import Confinement
from meshclaw.workspace import RefusedError, Workspace

KEY = "key-in-a-file-7712aa90"
BACKWARDS = KEY[::-1]
DISGUISES = (
    "rev < keys/one",
    "cut -c1-9 keys/one; cut -c10- keys/one",
    "cp -r keys k; rev k/one",
    "tac keys/two",
)
"""What a redactor does not see through."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "keys").mkdir(parents=True)
    (folder / "meshclaw.yaml").touch()
    for name in ("one", "two"):
        (folder / "keys" / name).write_text(f"{KEY}\n")
        (folder / "keys" / name).chmod(0o600)
    (folder / "keys" / "note").write_text(f"{BACKWARDS}\n")
    (folder / "link").symlink_to("keys/one")
    return folder


def run(project: Path, capsys: pytest.CaptureFixture[str], *calls: tuple[str, Any]) -> list[str]:
    """What the model is shown of its calls, in a run whose operator keeps keys there."""
    config = project.parent / "config.yaml"
    keys = project / "keys"
    provider = f"providers: {{anthropic: {{key_file: {keys}/one}}}}"
    config.write_text(f"{provider}\nkeys: {{h.example: {{key_file: {keys}/two}}}}\n")
    with WireServer() as server:
        server.script(Turn(tool_calls=list(calls)), Turn(text="done"))
        environment = {"MESHCLAW_CONFIG": str(config), "ANTHROPIC_BASE_URL": server.url}
        cli = Cli(capsys, project, environment)
        cli.task("job", "prompt: Do it.\ntools: [read, search, write, shell]\n")
        code, _, err = cli(
            *("run", "job", "--model", "anthropic/claude-haiku-5-5", "--allow-write", "**"),
            *("--allow-run", "*"),
        )
        assert code == 0, err
        parts = server.requests[1].body["messages"][-1]["content"]
    return [str(part["content"]) for part in parts]


@needs_bubblewrap
def test_no_call_gets_a_key(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = ("keys/one", "keys/two", "link", f"{project}/keys/one")
    calls = [("shell", {"command": line}) for line in DISGUISES]
    calls += [("read", {"path": path}) for path in paths]
    calls += [("search", {"pattern": "key-in"}), ("write", {"path": "keys/one", "content": "mine"})]
    calls += [("shell", {"command": "cat keys/note"}), ("read", {"path": "keys/note"})]
    *held, by_command, by_tool = run(project, capsys, *calls)
    for told in held:
        assert not any(part in told for part in (BACKWARDS, KEY[:9], KEY[10:])), told
    read = held[len(DISGUISES) : len(DISGUISES) + len(paths)]
    assert all("is not for tools" in told for told in read), read
    assert (project / "keys" / "one").read_text() == f"{KEY}\n"
    assert BACKWARDS in by_command, "the probe itself does not work"
    assert BACKWARDS in by_tool, "the probe itself does not work"


def test_hidden_files_are_not_opened_by_any_name(project: Path) -> None:
    hidden, open_to_all = Workspace(project, hidden=[project / "keys" / "one"]), Workspace(project)
    (project / "folder").symlink_to("keys")
    for name in ("keys/one", "link", "folder/one", "./keys//one", f"{project}/keys/one"):
        with pytest.raises(RefusedError):
            hidden.open(name)
        open_to_all.open(name).close()
    with pytest.raises(RefusedError):
        hidden.write_bytes("keys/one", b"mine")
    hidden.write_bytes("keys/three", b"mine")
    with pytest.raises(RefusedError):
        Workspace(project, hidden=[project / "keys"]).open("keys/note")


@needs_bubblewrap
async def test_a_copy_without_the_file_is_left_as_it_is(bench: Bench, tmp_path: Path) -> None:
    """What is hidden lies in the project, which the copy stands for; only what is shared of it shows."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("keys", "shared"):
        (bench.project / name).mkdir()
        (bench.project / name / "one").write_text(f"{KEY}\n")
    bench.hidden = (bench.project / "keys" / "one", bench.project / "shared" / "one")
    held = Confinement(("**",), appears_at=bench.project, shared=("shared",))
    sandbox = bench.sandbox()
    command = bench.command("cat */one; ls; echo x > made", (), workspace=copy, directory=copy)
    result = await sandbox.execute(replace(command, confinement=held))
    bench.hidden = ()
    control = bench.sandbox()
    shown = await control.execute(replace(command, confinement=held))
    await sandbox.aclose()
    await control.aclose()
    assert result.output.split() == ["shared"]
    assert [path.name for path in copy.iterdir()] == ["made"]
    assert KEY in shown.output, "the probe itself does not work"
