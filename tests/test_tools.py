"""The six built-in tools, as a model meets them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshclaw.messages import ToolCall
from meshclaw.policies import TaskPolicy
from meshclaw.sandbox.unconfined import Unconfined
from meshclaw.tools.base import ToolContext
from meshclaw.tools.built_in import BUILT_IN, built_in_tools
from meshclaw.tools.search import SearchTool
from meshclaw.tools.toolbox import Executed, Toolbox
from meshclaw.workspace import Workspace


class Hand:
    """Uses tools on a project whose policy allows everything, unless told otherwise."""

    def __init__(self, root: Path, policy: TaskPolicy | None = None, timeout: float = 60.0) -> None:
        self.root = root
        policy = policy or TaskPolicy(["**"], ["*"], shell_enabled=True)
        environment = {"PATH": os.environ["PATH"]}
        context = ToolContext(Workspace(root), Unconfined(), environment, timeout)
        self.box = Toolbox(built_in_tools(BUILT_IN), policy, context)

    async def __call__(self, tool: str, **arguments: Any) -> Executed:
        return await self.box.execute(ToolCall("c", tool, json.dumps(arguments)))

    async def text(self, tool: str, **arguments: Any) -> str:
        done = await self(tool, **arguments)
        assert not done.result.is_error, done.result.content
        return done.result.content

    async def error(self, tool: str, **arguments: Any) -> str:
        done = await self(tool, **arguments)
        assert done.result.is_error, done.result.content
        return done.result.content


@pytest.fixture
def use(tmp_path: Path) -> Hand:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").write_text("def main():\n    return 1\n\n\ndef other():\n    return 2\n")
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / "big.log").write_text("main\n")
    return Hand(tmp_path)


async def test_read_whole_and_in_ranges(use: Hand) -> None:
    assert await use.text("read", path="src/main.py") == (use.root / "src/main.py").read_text()
    assert await use.text("read", path="src/main.py", start_line=2, end_line=2) == (
        "[lines 2-2 of 6]\n    return 1\n"
    )
    assert (await use.text("read", path="src/main.py", start_line=5)).startswith("[lines 5-6 of 6]\ndef")
    assert "the file has 6 lines" in await use.error("read", path="src/main.py", start_line=7)
    assert "end_line" in await use.error("read", path="src/main.py", start_line=3, end_line=2)
    (use.root / "empty").touch()
    assert await use.text("read", path="empty") == "[empty file]"
    assert "src/main.py" in await use.text("read", path="src")


async def test_read_pages_through_a_long_file(use: Hand) -> None:
    lines = [f"{number} {'x' * (number % 90)}\n" for number in range(1, 5_001)]
    (use.root / "long.txt").write_text("".join(lines))
    seen, start, pages = "", 1, 0
    while True:
        header, _, page = (await use.text("read", path="long.txt", start_line=start)).partition("\n")
        seen += page
        pages += 1
        assert len(page) <= 32_768
        if "go on with start_line" not in header:
            break
        start = int(header.rpartition(" ")[2].rstrip("]"))
    assert seen == "".join(lines)
    assert pages > 3


async def test_read_is_bounded_on_huge_and_odd_files(use: Hand) -> None:
    with (use.root / "huge").open("wb") as file:
        file.write(b"a" * 100_000)
        file.seek(2**31)
        file.write(b"\n")
    content = await use.text("read", path="huge")
    assert len(content) < 40_000
    assert "was cut" in content
    (use.root / "one-line").write_bytes(b"b" * 100_000 + b"\nnext\n")
    assert await use.text("read", path="one-line", start_line=2) == "[lines 2-2 of 2]\nnext\n"
    (use.root / "image").write_bytes(b"\x89PNG\0\0")
    assert await use.text("read", path="image") == "[binary file, 6 bytes]"
    (use.root / "dos.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\xff\r\n")
    assert await use.text("read", path="dos.txt") == "a\nb\ufffd\n"
    os.mkfifo(use.root / "fifo")
    assert "not a regular file" in await use.error("read", path="fifo")


@pytest.mark.parametrize("path", ["main.py", "src/mian.py", "SRC/MAIN.PY", "lib/main.py"])
async def test_a_wrong_path_suggests_the_right_one(use: Hand, path: str) -> None:
    for tool, more in (("read", {}), ("edit", {"old": "a", "new": "b"})):
        assert "did you mean src/main.py" in await use.error(tool, path=path, **more)


async def test_list(use: Hand) -> None:
    assert await use.text("list") == ".gitignore\nsrc/\nsrc/main.py"
    assert await use.text("list", depth=1) == ".gitignore\nsrc/"
    assert await use.text("list", path="src") == "src/main.py"
    assert "use `read`" in await use.error("list", path="src/main.py")
    (use.root / "none").mkdir()
    assert await use.text("list", path="none") == "[empty folder]"
    for number in range(500):
        (use.root / "none" / f"{number:03}").touch()
    content = await use.text("list", path="none")
    assert content.count("\n") == 400
    assert "only the first 400 entries" in content
    (use.root / "src" / os.fsdecode(b"caf\xe9")).touch()
    assert r"src/caf\xe9" in await use.text("list", path="src")


async def test_search(use: Hand) -> None:
    assert await use.text("search", pattern=r"return \d") == (
        "src/main.py:2:     return 1\nsrc/main.py:6:     return 2"
    )
    assert await use.text("search", pattern="^def o", path="src/main.py") == "src/main.py:5: def other():"
    assert await use.text("search", pattern="main") == "src/main.py:1: def main():"
    assert await use.text("search", pattern="main", path="big.log") == "big.log:1: main"
    assert await use.text("search", pattern="def", glob="*.md") == "no matches"
    assert "main.py:1" in await use.text("search", pattern="def", glob="*.py")
    assert "main.py:1" in await use.text("search", pattern="def", glob="src/**")
    content = await use.text("search", pattern="main(")
    assert content.startswith("src/main.py:1: def main():\n[not a regular expression")
    assert "1 to 1000 characters" in await use.error("search", pattern="")
    assert "no such file" in await use.error("search", pattern="a", path="nowhere")


async def test_search_is_bounded(use: Hand) -> None:
    (use.root / "many.txt").write_text("x\n" * 1_000)
    (use.root / "wide.txt").write_text("-" * 1_000 + "needle" + "-" * 900)
    (use.root / "binary").write_bytes(b"needle\0")
    content = await use.text("search", pattern="x", path="many.txt")
    assert content.endswith("many.txt:100: x\n[only the first 100 matches; narrow the search]")
    content = await use.text("search", pattern="needle")
    assert content.count("needle") == 1
    assert len(content) < 300


async def test_a_pattern_that_backtracks_for_ever_is_stopped(use: Hand) -> None:
    """The control is in the name: Python's own `re` would need longer than the universe has."""
    (use.root / "trap.txt").write_text("a" * 1_500 + "b\n")
    context = ToolContext(Workspace(use.root), None, {})
    tool = SearchTool(seconds=0.3)
    output = await tool.call({"pattern": r"(a|aa)+$", "path": "trap.txt"}, context)
    assert "took too long" in output.content
    output = await tool.call({"pattern": r"a+b$", "path": "trap.txt"}, context)
    assert output.content.startswith("trap.txt:1: ")


async def test_edit(use: Hand) -> None:
    script = use.root / "src/main.py"
    script.chmod(0o755)
    done = await use("edit", path="src/main.py", old="return 1", new="return 7\n    # seven")
    assert done.result.content == "edited src/main.py at line 2"
    assert done.display == (
        "--- a/src/main.py\n+++ b/src/main.py\n@@ -1,5 +1,6 @@\n def main():\n-    return 1\n"
        "+    return 7\n+    # seven\n \n \n def other():"
    )
    assert script.read_text().splitlines()[1:3] == ["    return 7", "    # seven"]
    assert script.stat().st_mode & 0o777 == 0o755


async def test_edit_must_match_once(use: Hand) -> None:
    before = (use.root / "src/main.py").read_text()
    assert "old occurs 2 times, at lines 2, 6" in await use.error(
        "edit", path="src/main.py", old="    return", new="x"
    )
    error = await use.error("edit", path="src/main.py", old="def mian():\n    return 1", new="x")
    assert error.endswith("the nearest text is; from line 1 the file has:\ndef main():\n    return 1")
    error = await use.error("edit", path="src/main.py", old="  def main():", new="x")
    assert "the indentation or a later line differs" in error
    assert "nothing in the file is like" in await use.error(
        "edit", path="src/main.py", old="class Zebra(Quux)", new="x"
    )
    assert "old is empty" in await use.error("edit", path="src/main.py", old="", new="x")
    assert "the same" in await use.error("edit", path="src/main.py", old="return 1", new="return 1")
    (use.root / "aaa").write_text("aaa")
    assert "occurs 2 times" in await use.error("edit", path="aaa", old="aa", new="x")
    assert (use.root / "src/main.py").read_text() == before


async def test_edit_keeps_what_is_not_its_business(use: Hand) -> None:
    file = use.root / "dos.txt"
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo \xff\r\nthree\r\n")
    await use.text("edit", path="dos.txt", old="one\n", new="1\n1b\n")
    assert file.read_bytes() == b"\xef\xbb\xbf1\r\n1b\r\ntwo \xff\r\nthree\r\n"
    mixed = use.root / "mixed.txt"
    mixed.write_bytes(b"a\r\nb\nc\n")
    await use.text("edit", path="mixed.txt", old="b\nc", new="x\ny")
    assert mixed.read_bytes() == b"a\r\nx\ny\n"
    binary = use.root / "binary"
    binary.write_bytes(b"a\0b")
    assert "binary" in await use.error("edit", path="binary", old="a", new="b")


async def test_write(use: Hand) -> None:
    done = await use("write", path="new/deep.txt", content="é\n")
    assert done.result.content == "created new/deep.txt, 3 bytes"
    assert done.display == "--- a/new/deep.txt\n+++ b/new/deep.txt\n@@ -0,0 +1 @@\n+é"
    assert await use.text("write", path="new/deep.txt", content="b") == "replaced new/deep.txt, 1 bytes"
    assert (use.root / "new/deep.txt").read_text() == "b"
    assert "is a folder" in await use.error("write", path="src", content="x")
    done = await use.box.execute(ToolCall("c", "write", '{"path": "s", "content": "\\ud800"}'))
    assert "surrogate" in done.result.content
    assert not (use.root / "s").exists()


@pytest.mark.parametrize(
    "place", ["../out", "/tmp/meshclaw-out", ".git/hooks/post-commit", "escape/out", "tasks/x.yaml"]
)
async def test_no_tool_writes_elsewhere(
    use: Hand, tmp_path_factory: pytest.TempPathFactory, place: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (use.root / "escape").symlink_to(outside)
    (use.root / ".git" / "hooks").mkdir(parents=True)
    await use.error("write", path=place, content="x")
    await use.error("edit", path=place, old="", new="x")
    assert not list(outside.iterdir())
    assert not list((use.root / ".git" / "hooks").iterdir())
    assert not Path("/tmp/meshclaw-out").exists()
    await use.text("write", path="out", content="x")


async def test_shell(use: Hand) -> None:
    assert await use.text("shell", command="cat src/main.py | wc -l; exit 3") == "6\n[exit code 3]"
    assert await use.text("shell", command="printf x") == "x\n[exit code 0]"
    assert await use.text("shell", command="true") == "[exit code 0]"
    assert await use.text("shell", command='for i in 1 2; do echo "$i"; done') == "1\n2\n[exit code 0]"
    hand = Hand(use.root, timeout=2.0)
    error = await hand.error("shell", command="echo begun; sleep 1000")
    assert error == "begun\n[stopped: it ran longer than 2 s]"


async def test_shell_runs_exactly_what_was_reviewed(use: Hand) -> None:
    hand = Hand(use.root, TaskPolicy(run=["printf *"], shell_enabled=True))
    assert await hand.text("shell", command="printf '%s,' '$HOME' \"it's\" a\\ b '*'") == (
        "$HOME,it's,a b,*,\n[exit code 0]"
    )
    for command in ("printf $HOME", "printf x; id", "id", "printf x > f", "printf `id`"):
        done = await hand("shell", command=command)
        assert done.result.content.startswith("denied: ")
        assert done.denied
        assert "--allow-run" in done.denied
    assert not (use.root / "f").exists()


async def test_shell_needs_a_sandbox_or_the_flag(use: Hand) -> None:
    done = await Hand(use.root, TaskPolicy(run=["*"], shell_enabled=False))("shell", command="touch made")
    assert done.result.is_error
    assert done.denied
    assert "--no-sandbox" in done.denied
    context = ToolContext(Workspace(use.root), None, {})
    box = Toolbox(built_in_tools(["shell"]), TaskPolicy(run=["*"], shell_enabled=True), context)
    result = (await box.execute(ToolCall("c", "shell", '{"command": "touch made"}'))).result
    assert result.is_error
    assert not (use.root / "made").exists()


def test_every_tool_can_be_made_without_arguments() -> None:
    makers: list[Callable[[], Any]] = list(BUILT_IN.values())
    assert [make().spec.name for make in makers] == list(BUILT_IN)
