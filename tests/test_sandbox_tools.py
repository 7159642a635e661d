"""What engineers' commands need works in the sandbox: tests, builds, commits, folders for their outputs."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cli_terminal import Cli
from contained import PYTHON, Bench, git, needs_bubblewrap
from proxy_calls import internet
from recorded_answers import record_answers
from web_server import WebServer, answer

from meshclaw.sandbox.base import Confinement
from meshclaw.sandbox.bubblewrap import Bubblewrap, find_bubblewrap

pytestmark = needs_bubblewrap


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def on_path(bench: Bench, *programs: str) -> None:
    """The operator's PATH with the programs' own folders first, and their toolchains' variables."""
    folders = [str(Path(found).parent) for name in programs if (found := shutil.which(name))]
    bench.path = os.pathsep.join([*folders, bench.path])


async def test_pytest(bench: Bench) -> None:
    (bench.project / "test_sum.py").write_text("def test_sum(): assert 1 + 1 == 2\n")
    (bench.project / "test_wrong.py").write_text("def test_wrong(): assert 1 + 1 == 3\n")
    bench.variables = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    result = await bench.contained(f"{PYTHON} -m pytest -q . && false; ls .pytest_cache")
    assert "1 failed, 1 passed" in result.output
    assert "warning" not in result.output, "its cache could not be written"
    assert result.output.endswith("\nv\n")
    assert sorted(path.name for path in bench.project.iterdir()) == ["test_sum.py", "test_wrong.py"]


@needs("npm")
async def test_npm_test(bench: Bench) -> None:
    on_path(bench, "npm", "node")
    (bench.project / "package.json").write_text('{"name": "sum", "scripts": {"test": "node --test"}}')
    (bench.project / "sum.test.js").write_text(
        "const test = require('node:test'), assert = require('node:assert');\n"
        "test('sum', () => assert.equal(1 + 1, 2));\n"
    )
    (bench.project / "node_modules" / ".cache").mkdir(parents=True)
    cache = "echo private > node_modules/.cache/x && cat node_modules/.cache/x"
    result = await bench.contained(f"npm test && {cache}", timeout=120.0)
    assert result.exit_code == 0, result.output
    assert "pass 1" in result.output
    assert result.output.endswith("private\n")
    assert list((bench.project / "node_modules" / ".cache").iterdir()) == []


@needs("cargo")
async def test_cargo_build(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(bench, "cargo")
    # Tests have a home of their own, where rustup would look for its toolchains.
    rustup = Path(shutil.which("cargo") or "").parents[2] / ".rustup"
    if "RUSTUP_HOME" not in os.environ and rustup.is_dir():
        monkeypatch.setenv("RUSTUP_HOME", str(rustup))
    (bench.project / "src").mkdir()
    (bench.project / "src" / "main.rs").write_text('fn main() { println!("built") }\n')
    package = '[package]\nname = "sum"\nversion = "0.1.0"\nedition = "2021"\n'
    (bench.project / "Cargo.toml").write_text(package)
    assert (await bench.free("cargo generate-lockfile --offline")).exit_code == 0
    result = await bench.contained("cargo build --offline && target/debug/sum", timeout=300.0)
    assert result.exit_code == 0, result.output
    assert result.output.endswith("built\n")
    assert not (bench.project / "target").exists()


async def test_git_commit(bench: Bench) -> None:
    git(bench.project, "init", "-q", "-b", "main")
    (bench.project / "a.txt").write_text("one\n")
    script = "git add a.txt && git commit -qm 'Add a' && git log --format='%an <%ae> %s'"
    refused = await bench.contained(script, "a.txt")
    assert refused.exit_code != 0, "the repository is read-only unless a glob names it"
    result = await bench.contained(script, ".git/**")
    assert (result.exit_code, result.output) == (0, "Ada <ada@example.com> Add a\n")
    assert git(bench.project, "log", "--format=%an %s") == "Ada Add a\n"
    assert git(bench.project, "status", "--porcelain") == ""
    git(bench.project, "fsck", "--strict")


def test_a_task_may_allow_commits(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The same through a task file, which file tools do not get into the repository by."""
    cli = Cli(capsys, tmp_path / "project")
    cli.project.mkdir()
    git(cli.project, "init", "-q", "-b", "main")
    (cli.project / "a.txt").write_text("one\n")
    commit = "git add a.txt && git -c user.name=Ada -c user.email=ada@example.com commit -qm Add"
    write = {"path": ".git/hooks/post-commit", "content": "x"}
    model = record_answers(
        tmp_path / "recorded", [("shell", {"command": commit}), ("write", write)], "done"
    )
    for glob, commits in (("src/**", 0), (".git/**", 1)):
        allow = {"run": ["git *"], "write": [glob]}
        task = {"prompt": "Commit.", "tools": ["shell", "write"], "allow": allow}
        cli.task("job", json.dumps(task))
        assert cli("run", "job", "--model", model)[0] == 0
        found = git(cli.project, "rev-list", "--all", "--count")
        assert int(found) == commits
        assert not (cli.project / ".git" / "hooks" / "post-commit").exists()


async def test_what_is_built_lasts_for_the_run_and_no_longer(bench: Bench) -> None:
    sandbox = bench.sandbox()
    try:
        for script, output in (("mkdir target/x && echo 1 > target/x/y", ""), ("cat target/x/y", "1\n")):
            assert (await sandbox.execute(bench.command(script, ()))).output == output
    finally:
        await sandbox.aclose()
    assert "No such file" in (await bench.contained("cat target/x/y")).output
    assert list(bench.project.iterdir()) == []


@needs("curl")
async def test_curl_uses_the_way_that_is_open(bench: Bench) -> None:
    async with WebServer() as server:
        server.routes["/"] = answer(b"REACHED")
        evil = f"http://evil.example:{server.port}/"
        script = f"curl -sS {server.url('/')}; echo; curl -sS {evil}; curl -sSp {evil} || echo $?"
        program = find_bubblewrap()
        assert program is not None
        sandbox = Bubblewrap(program, bench.machine, bench.private, internet=internet())
        confinement = Confinement(network=(f"page.example:{server.port}",))
        result = await sandbox.execute(replace(bench.command(script, ()), confinement=confinement))
        await sandbox.aclose()
    assert "REACHED\n" in result.output
    assert f"evil.example:{server.port} may not be reached" in result.output
    assert "response 403" in result.output
    assert [one.host for one in result.refused] == [f"evil.example:{server.port}"]
    assert server.connections == 1
