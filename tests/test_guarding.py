"""Which files checks see as they were, and which of them the commands of checks name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from contained import git
from run_bench import RunBench

from meshclaw.checks import CheckContext, CheckResult
from meshclaw.cli.guarded import changed_in, unseen
from meshclaw.dispatch import Dispatcher, Stop
from meshclaw.dispatch.delegation import Isolation
from meshclaw.errors import ExitCode
from meshclaw.isolation import Guard
from meshclaw.isolation.guarding import reached
from meshclaw.isolation.repository import FILE, LINK, Blob
from meshclaw.isolation.scripts import named_files
from meshclaw.policies import TaskPolicy
from meshclaw.runs import Candidate
from meshclaw.sandbox.base import Confinement
from meshclaw.testing import Say, call
from meshclaw.tools.editing import WriteTool

OLD, NEW = Blob(FILE, "old"), Blob(FILE, "new")
BEFORE = (
    "src/app.py",
    "tests.py",
    "pkg/tests/util.py",
    "package.json",
    "check.sh",
    "README.md",
    "go/a_test.go",
)


def altered(guard: Guard, *paths: str) -> tuple[str, ...]:
    base = dict.fromkeys(BEFORE, OLD)
    return guard.altered(base, base | dict.fromkeys(paths, NEW))


@pytest.mark.parametrize(
    "path",
    [
        *(
            "tests.py",
            "pkg/tests/util.py",
            "package.json",
            "go/a_test.go",
            "web/package.json",
            "Cargo.toml",
        ),
        *(
            "Cargo.toml",
            ".pytest.toml",
            "sub/GNUmakefile",
            ".cargo/config.toml",
            "tsconfig.json",
            "sitecustomize.py",
        ),
        *("unittest/__init__.py", "json.py", "_pytest.py", "tests/__init__.py", "tests.cpython-312.so"),
    ],
)
def test_changes_to_what_checks_are_made_of_are_seen(path: str) -> None:
    assert altered(Guard(), path) == (path,)
    assert altered(Guard([]), path) == ()
    assert altered(Guard([f"!{path}"]), path) == ()


@pytest.mark.parametrize(
    "path",
    [
        *("src/app.py", "README.md", "new.py", "src/json.py", "json/readme.md", "pkg/tests/test_new.py"),
        *("check.sh", "src/app/__init__.py", "tests/new.json"),
    ],
)
def test_ordinary_work_and_new_tests_are_left_alone(path: str) -> None:
    assert altered(Guard(), path) == ()


def test_stated_globs_take_the_place_of_ours_and_new_files_go() -> None:
    guard = Guard(["src/**", "!src/free.py"], ["sh check.sh"])
    assert altered(guard, "tests.py", "check.sh", "src/app.py", "src/new.py", "src/free.py") == (
        "src/app.py",
        "src/new.py",
    )


def test_what_a_check_runs_by_name_is_guarded_unless_the_task_lets_it_be_written() -> None:
    assert altered(Guard(None, ["sh check.sh"]), "check.sh") == ("check.sh",)
    assert altered(Guard(None, ["sh check.sh"], ["**"]), "check.sh") == ("check.sh",)
    assert altered(Guard(None, ["sh check.sh"], ["src/**", "check.sh"]), "check.sh") == ()


@pytest.mark.parametrize("path", ["package.json", "Cargo.toml", "json.py", "conftest.py"])
def test_settings_and_modules_are_guarded_unless_the_task_names_them_for_writing(path: str) -> None:
    assert altered(Guard(writable=["**"]), path) == (path,)
    assert altered(Guard(writable=[f"./{path}"]), path) == ()
    assert altered(Guard(writable=["tests.py", path]), path, "tests.py") == ("tests.py",)
    assert altered(Guard([path], writable=[path]), path) == (path,)


def test_only_what_is_no_test_and_not_stated_may_be_the_work() -> None:
    assert [path for path in BEFORE if Guard(["!README.md"]).may_be_work(path)] == [
        *("src/app.py", "package.json", "check.sh", "README.md")
    ]
    assert not Guard(["package.json"]).may_be_work("package.json")


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("sh check.sh", "check.sh"),
        ("./check.sh --fast", "check.sh"),
        ("bash -eu -o pipefail ci/all.sh app.py", "ci/all.sh"),
        ("FAST=1 timeout 60 ./ci/all.sh", "ci/all.sh"),
        ("make && sh -c 'cd ci && sh all.sh'", "ci/all.sh"),
        ("cd ci\nsh all.sh", "ci/all.sh"),
        (". ./check.sh; if ! ci/all.sh; then exit 1; fi", "check.sh ci/all.sh"),
        ("sh < check.sh", "check.sh"),
        ("echo $(sh check.sh)", "check.sh"),
        ('test "$(./check.sh)" = `node app.py`', "check.sh app.py"),
        ("python3.12 -W error app.py check.sh", "app.py"),
        ("uv run python -m app", "app.py"),
        ("python -m unittest -q ci.verify.Case.test_it", "ci/verify.py"),
        ("poetry run pytest -q ci/verify.py::test_it app.py", "app.py ci/verify.py"),
        ("node --test web/a.js web/b.js", "web/a.js web/b.js"),
        ("node web/a.js web/b.js", "web/a.js"),
        ("make -f ci/rules test", "ci/rules"),
        ("sh 'check.sh", "check.sh"),
        ("grep -q x app.py && cat check.sh", ""),
        ("ruff check app.py; pytest --doctest-modules app.py", ""),
        ("python -c 'import app' app.py", ""),
        ("pytest -q", ""),
        ("", ""),
    ],
)
def test_files_that_a_command_runs(script: str, names: str) -> None:
    files = {"check.sh", "app.py", "ci/all.sh", "ci/verify.py", "ci/rules", "web/a.js", "web/b.js"}
    assert named_files(script, files) == set(names.split())


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        ("app.py", "sub/app.py"),
        ("./src//a.py docs", "sub/docs/x sub/docs/y sub/src/a.py"),
        ("app.py/deeper none", ""),
        ("none", ""),
        *(
            (path, "all")
            for path in (".", "../other", "/etc/passwd", "link", "link/deeper", "app.py linked/a")
        ),
    ],
)
def test_files_that_paths_lead_to(paths: str, found: str) -> None:
    files = dict.fromkeys(
        f"sub/{name}" for name in ("app.py", "app.pyc", "docs/x", "docs/y", "src/a.py", "src/b.py")
    )
    tree = {**dict.fromkeys(files, OLD), "sub/link": Blob(LINK, "x"), "sub/linked": Blob(LINK, "x")}
    tree |= {"docs/x": OLD, "app.py": OLD}
    reached_there = reached(tree, "sub/", paths.split())
    assert sorted(reached_there) == sorted(tree if found == "all" else found.split())


class Reads:
    """A check that needs nothing but the answer."""

    kind, label, needs_changes, asks, reads_files = "reads", "reads", False, False, False

    def __init__(self, wanted: str = "Done.") -> None:
        self._wanted = wanted

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        return CheckResult(self.kind, self.label, "passed" if candidate.text == self._wanted else "failed")


def bench_of(folder: Path, *turns: object, **options: object) -> RunBench:
    bench = RunBench(
        folder,
        list(turns),  # type: ignore[arg-type]
        tools=[WriteTool()],
        policy=TaskPolicy(["**"]),
        options={"checks": [Reads()], "confinement": Confinement(("**",)), **options},
    )
    (bench.project / "test_a.py").write_text("as it was\n")
    return bench


class Lists(Reads):
    """Says that nothing but the file that it reads is there."""

    reads_files, files_read = True, ("test_a.py",)

    async def judge(self, candidate: Candidate, context: CheckContext) -> CheckResult:
        seen = sorted(path.name for path in context.files.iterdir() if path.name != ".git")
        return CheckResult(
            self.kind, self.label, "passed" if seen == ["test_a.py"] else "failed", str(seen)
        )


async def test_of_a_copy_only_what_checks_read_is_laid_out(tmp_path: Path) -> None:
    options: dict[str, object] = {
        "isolation": Isolation(),
        "checks": [Lists()],
        "environment": dict(os.environ),
    }
    bench = bench_of(tmp_path, call("write", path="b.py", content="x"), Say("Done."), **options)
    git(bench.project, "init", "-q")
    git(bench.project, "add", "-A")
    git(bench.project, "commit", "-qm", "begin")
    record = await bench.run()
    assert (record["outcome"], record["reason"], record["patch"]["files"]) == ("accepted", "", ["b.py"])


async def test_changed_tests_are_named_whatever_the_checks_look_at(tmp_path: Path) -> None:
    edit = call("write", path="test_a.py", content="edited\n")
    record = await bench_of(tmp_path, edit, Say("Done.")).run()
    assert (record["outcome"], record["changed_by_agent"]) == ("accepted", ["test_a.py"])
    record = await bench_of(tmp_path, call("write", path="other.txt", content="x"), Say("Done.")).run()
    assert record["changed_by_agent"] == []


async def test_what_cannot_be_known_of_changes_stops_no_run(tmp_path: Path) -> None:
    bench = bench_of(tmp_path, call("write", path="a.txt", content="x"), Say("Done."))
    git(bench.project, "init", "-q")
    git(bench.project, "add", "-A")
    git(bench.project, "commit", "-qm", "begin")
    tree = git(bench.project, "rev-parse", "HEAD^{tree}").strip()
    (bench.project / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    record = await bench.run()
    assert (record["outcome"], record["changed_by_agent"]) == ("accepted", None)
    assert not (tmp_path / "runs" / "run-1" / "before").exists()


async def test_what_one_attempt_changed_is_known_after_a_restart(tmp_path: Path) -> None:
    """Though the next one puts it back, and is cut short."""
    bench = bench_of(
        tmp_path,
        call("write", path="test_a.py", content="edited\n"),
        Say("Not done."),
        call("write", path="test_a.py", content="as it was\n"),
        Say("late", latency=30),
        attempts=2,
    )
    stop = Stop()
    seen: list[str] = []

    class Watching(list[object]):
        def append(self, event: object) -> None:
            seen.append(event.kind)  # type: ignore[attr-defined]
            if seen.count("request") == 4:
                stop.now(ExitCode.INTERRUPTED)

    bench.events = Watching()  # type: ignore[assignment]
    record = await bench.run(stop)
    assert (record["status"], record["changed_by_agent"]) == ("interrupted", ["test_a.py"])
    bench.provider._turns[-1] = Say("Done.")
    bench.provider.requests.pop()
    record = await Dispatcher(bench.house()).resume("run-1", bench.delegation())
    assert (record["outcome"], record["changed_by_agent"]) == ("accepted", ["test_a.py"])
    checks = [event for event in bench.transcript() if event.kind == "check"]
    assert [event.data["changed_by_agent"] for event in checks] == [["test_a.py"]] * 2


def test_a_runs_end_says_what_was_not_seen_and_how_to_show_it() -> None:
    names = ["tests/[0].py", *(f"tests/{number}.py" for number in range(1, 7))]
    patch = {"left_out": ["dist/a.gen", "src/__pycache__/a.pyc"]}
    told = {"changed_by_agent": names, "patch": patch, "checks": [{}]}
    said = "\n".join(unseen({**told, "task_source": "t.yaml", "run": "r1"}))
    assert "tests/[0].py, tests/1.py, tests/2.py, tests/3.py, tests/4.py, and 2 more" in said
    assert 'add to protect in t.yaml: "!tests/[[]0].py"' in said
    assert "so checks did not see it: dist/a.gen; `meshclaw runs diff r1` says why" in said
    assert list(unseen({"changed_by_agent": None, "patch": None, "checks": []})) == []
    items = [{"name": "n=1", "changed_by_agent": names}, {"name": "n=2", "changed_by_agent": []}]
    assert (
        changed_in(items) == "the agent changed what checks are made of in n=1; see meshclaw runs show RUN"
    )
    assert changed_in(items[1:]) is None
