"""Opening files for an agent: what works, and every way out that must not."""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from meshclaw.workspace import FileInfo, NotFoundError, RefusedError, Workspace, WorkspaceError, shown_name
from meshclaw.workspace.beneath import in_one_call, step_by_step

AT_FDCWD, RENAME_EXCHANGE = -100, 2


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.py").write_text("print(1)\n")
    (root / "README.md").write_text("hello\n")
    (tmp_path / "secret").write_text("outside\n")
    return root


@pytest.fixture(params=[in_one_call, step_by_step])
def workspace(project: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Workspace:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / "call_1.txt").write_text("all of it")
    return Workspace(project, outputs, opener=request.param)


def names(found: Iterable[FileInfo]) -> list[str]:
    return [item.path for item in found]


def test_reads_beneath_the_root(workspace: Workspace, project: Path) -> None:
    for path in ("src/a.py", "./src//a.py", str(project / "src" / "a.py")):
        assert workspace.read_bytes(path) == b"print(1)\n"
    assert workspace.read_bytes("src/a.py", limit=3, offset=6) == b"1)\n"
    assert workspace.stat("src").kind == "folder"
    assert workspace.stat("src/a.py").size == 9
    assert workspace.exists("README.md")
    assert not workspace.exists("nothing")


def test_a_missing_file_is_told_apart(workspace: Workspace) -> None:
    with pytest.raises(NotFoundError, match=r"^src/b\.py: no such file or folder$"):
        workspace.read_bytes("src/b.py")
    with pytest.raises(WorkspaceError, match="not a directory"):
        workspace.read_bytes("README.md/x")
    with pytest.raises(WorkspaceError, match="is a folder"):
        workspace.read_bytes("src")


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "src/../../secret",
        "src/..",
        "/etc/passwd",
        "/proc/self/root/etc/passwd",
        "/",
        "a\0b",
        "\ud800",
        "x" * 5_000,
    ],
)
def test_paths_that_are_refused_by_their_text(workspace: Workspace, path: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        workspace.read_bytes(path)
    assert not isinstance(caught.value, NotFoundError)
    str(caught.value).encode()
    with pytest.raises(WorkspaceError):
        workspace.write_bytes(path, b"x")


def test_a_sibling_with_the_same_beginning_is_outside(workspace: Workspace, project: Path) -> None:
    sibling = Path(f"{project}-2")
    sibling.mkdir()
    (sibling / "x").write_text("x")
    with pytest.raises(WorkspaceError, match="outside of the project"):
        workspace.read_bytes(str(sibling / "x"))


def test_symlinks_lead_within_the_project_only(workspace: Workspace, project: Path, tmp_path: Path) -> None:
    (project / "inside").symlink_to("src/a.py")
    (project / "folder").symlink_to("src")
    assert workspace.read_bytes("inside") == b"print(1)\n"
    assert workspace.read_bytes("folder/a.py") == b"print(1)\n"
    for name, target in {
        "absolute": tmp_path / "secret",
        "relative": Path("../secret"),
        "parent": tmp_path,
        "magic": Path("/proc/self/root"),
        "cwd": Path("/proc/self/cwd"),
    }.items():
        (project / name).symlink_to(target)
        place = name if target.name == "secret" else f"{name}/secret"
        with pytest.raises(WorkspaceError, match="leads out of the project"):
            workspace.read_bytes(place)
        with pytest.raises(WorkspaceError):
            workspace.list_dir(name)
        with pytest.raises(WorkspaceError):
            workspace.write_bytes(place, b"x")
    assert (tmp_path / "secret").read_text() == "outside\n"


def test_writing_follows_no_symlink_not_even_inside(workspace: Workspace, project: Path) -> None:
    (project / "inside").symlink_to("src/a.py")
    (project / "folder").symlink_to("src")
    with pytest.raises(WorkspaceError, match="not a regular file"):
        workspace.write_bytes("inside", b"x")
    with pytest.raises(WorkspaceError):
        workspace.write_bytes("folder/a.py", b"x")
    assert (project / "src" / "a.py").read_text() == "print(1)\n"
    workspace.write_bytes("src/a.py", b"x")
    assert (project / "src" / "a.py").read_text() == "x"


def test_a_loop_of_symlinks_is_an_error(workspace: Workspace, project: Path) -> None:
    (project / "a").symlink_to("b")
    (project / "b").symlink_to("a")
    with pytest.raises(WorkspaceError):
        workspace.read_bytes("a")


def test_swapping_a_folder_for_a_symlink_never_leads_out(
    workspace: Workspace, project: Path, tmp_path: Path
) -> None:
    """A second thread exchanges `door` and `spare`, a real folder and a link out, all the time."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("outside")
    door = project / "door"
    door.mkdir()
    (door / "f").write_text("inside")
    (project / "spare").symlink_to(outside)
    stop = threading.Event()
    swaps = [0]

    def swap() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        while not stop.is_set():
            here, there = os.fsencode(door), os.fsencode(project / "spare")
            swaps[0] += libc.renameat2(AT_FDCWD, here, AT_FDCWD, there, RENAME_EXCHANGE) == 0

    thread = threading.Thread(target=swap)
    thread.start()
    seen: set[bytes | str] = set()
    naive: set[str] = set()
    try:
        for turn in range(100_000):
            if turn >= 20_000 and {b"inside", "refused"} <= seen and naive == {"inside", "outside"}:
                break
            try:
                seen.add(workspace.read_bytes("door/f"))
                workspace.write_bytes("door/g", b"x")
            except WorkspaceError:
                seen.add("refused")
            naive.add((door / "f").read_text())
    finally:
        stop.set()
        thread.join()
    assert seen == {b"inside", "refused"}
    assert not (outside / "g").exists()
    # The control: the race was real, for a plain open did get out.
    assert swaps[0] > 100
    assert naive == {"inside", "outside"}


def test_special_files_are_refused_without_being_opened(workspace: Workspace, project: Path) -> None:
    os.mkfifo(project / "fifo")
    for path in ("fifo",):
        with pytest.raises(WorkspaceError, match="not a regular file"):
            workspace.read_bytes(path)
        with pytest.raises(WorkspaceError, match="not a regular file"):
            workspace.write_bytes(path, b"x")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(project)  # a socket's path may be 107 bytes at most
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        with pytest.raises(WorkspaceError, match="not a regular file"):
            workspace.read_bytes("socket")
    with pytest.raises(WorkspaceError, match="not a regular file"):
        Workspace(Path("/dev")).read_bytes("null", limit=1)
    kinds = {item.name: item.kind for item in workspace.list_dir()}
    assert kinds["fifo"] == "other"
    assert kinds["src"] == "folder"


def test_a_hard_link_may_be_read_but_not_written(
    workspace: Workspace, project: Path, tmp_path: Path
) -> None:
    (project / "twin").hardlink_to(tmp_path / "secret")
    with pytest.raises(WorkspaceError, match="hard link"):
        workspace.write_bytes("twin", b"x")
    assert (tmp_path / "secret").read_text() == "outside\n"
    (tmp_path / "secret").unlink()
    workspace.write_bytes("twin", b"x")


BARE = {"HEAD": b"ref: refs/heads/main\n", "config": b"[core]\n", "objects/x": b"", "refs/x": b""}


@pytest.mark.parametrize("last", ["HEAD", "objects/x", "refs/x"])
def test_no_folder_is_made_a_repository(workspace: Workspace, project: Path, last: str) -> None:
    def is_one() -> bool:
        argv = ["git", "rev-parse", "--is-bare-repository"]
        done = subprocess.run(argv, cwd=project / "bare", capture_output=True, text=True, check=False)
        return done.stdout == "true\n"

    for name, data in BARE.items():
        if name != last:
            workspace.write_bytes(f"bare/{name}", data)
    with pytest.raises(RefusedError, match=r"bare is or would be a git repository"):
        workspace.write_bytes(f"bare/{last}", BARE[last])
    assert not is_one()
    (project / "bare" / last).parent.mkdir(exist_ok=True)
    (project / "bare" / last).write_bytes(BARE[last])
    assert is_one(), "the probe itself does not work"
    with pytest.raises(RefusedError):
        workspace.write_bytes("bare/config", b"[core]\nfsmonitor = evil\n")
    workspace.write_bytes("x/HEAD", b"no repository\n")
    for name in ("HEAD/f", "objects/f", "refs/f"):
        workspace.write_bytes(f"y/{name}", b"no repository either\n")


@pytest.mark.parametrize("path", [".git/config", ".GIT/config", "vendor/.git/hooks/pre-commit", ".git"])
def test_git_folders_are_closed(workspace: Workspace, project: Path, path: str) -> None:
    place = project / path
    if path != ".git":
        place.parent.mkdir(parents=True)
        place.write_text("token")
    with pytest.raises(WorkspaceError):
        workspace.write_bytes(path, b"x")
    with pytest.raises(WorkspaceError):
        workspace.read_bytes(path)
    (project / "harmless").symlink_to(path)
    with pytest.raises(WorkspaceError):
        workspace.read_bytes("harmless")
    assert ".git" not in {name.lower() for name in names(list(workspace.walk()))}
    workspace.write_bytes(".gitignore", b"*.o\n")


def test_writes_in_one_step_and_keeps_the_mode(workspace: Workspace, project: Path) -> None:
    script = project / "run.sh"
    script.write_text("old")
    script.chmod(0o755)
    before = script.stat().st_ino
    workspace.write_bytes("run.sh", b"new")
    assert script.read_text() == "new"
    assert stat.S_IMODE(script.stat().st_mode) == 0o755
    assert script.stat().st_ino != before
    workspace.write_bytes("deep/er/file.txt", b"x")
    assert (project / "deep" / "er" / "file.txt").read_text() == "x"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((project / "deep" / "er" / "file.txt").stat().st_mode) == 0o666 & ~umask
    assert not list(project.rglob("*.tmp"))


def test_what_cannot_be_replaced_stays_and_leaves_no_draft(workspace: Workspace, project: Path) -> None:
    kept = project / "kept"
    kept.write_text("old")
    kept.chmod(0o444)
    for path, reason in {"kept": "read-only", "src": "is a folder", "kept/x": "not a directory"}.items():
        with pytest.raises(WorkspaceError, match=reason):
            workspace.write_bytes(path, b"new")
    assert kept.read_text() == "old"
    with pytest.raises(WorkspaceError):
        workspace.write_bytes("x" * 300, b"new")
    assert sorted(item.name for item in project.iterdir()) == ["README.md", "kept", "src"]


def test_run_outputs_are_for_reading(workspace: Workspace, tmp_path: Path) -> None:
    assert workspace.read_bytes("@run/call_1.txt") == b"all of it"
    assert names(workspace.list_dir("@run")) == ["@run/call_1.txt"]
    assert names(workspace.walk("@run")) == ["@run/call_1.txt"]
    for path in ("@run/call_1.txt", "@run/new", "./@run/new", "@run"):
        with pytest.raises(WorkspaceError):
            workspace.write_bytes(path, b"x")
    (tmp_path / "outputs" / "out").symlink_to(tmp_path / "secret")
    with pytest.raises(WorkspaceError, match="leads out"):
        workspace.read_bytes("@run/out")
    with pytest.raises(NotFoundError):
        Workspace(workspace.root).read_bytes("@run/call_1.txt")


def test_names_that_are_not_utf8(workspace: Workspace, project: Path) -> None:
    (project / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    found = next(item for item in workspace.list_dir() if item.name.startswith("caf"))
    assert shown_name(found.path) == r"caf\xe9.txt"
    assert workspace.read_bytes(found.path) == b"x"
    assert shown_name("plain é \ud800") == "plain é \\ud800"


def test_walk_is_sorted_and_bounded_by_depth(workspace: Workspace, project: Path) -> None:
    (project / "src" / "deep").mkdir()
    (project / "src" / "deep" / "z.py").write_text("")
    (project / "loop").symlink_to(".")
    assert names(workspace.walk()) == ["README.md", "src", "src/a.py", "src/deep", "src/deep/z.py"]
    assert names(workspace.walk(depth=1)) == ["README.md", "src"]
    assert names(workspace.walk("src", depth=1)) == ["src/a.py", "src/deep"]


def test_walk_ignores_what_git_ignores(tmp_path: Path) -> None:
    """git itself is asked, over nested files, negations, anchors and folders."""
    files = {
        ".gitignore": "*.log\n!keep.log\n/build/\ntmp\n# comment\n\\#odd\nvendor/*\n!vendor/mine\n",
        "a.py": "",
        "a.log": "",
        "keep.log": "",
        "#odd": "",
        "build/x.o": "",
        "sub/build/x.o": "",
        "sub/tmp": "",
        "sub/.gitignore": "*.py\n!a.log\n/only\n",
        "sub/a.py": "",
        "sub/a.log": "",
        "sub/b.log": "",
        "sub/only": "",
        "sub/in/only": "",
        "sub/in/a.log": "",
        "tmp/x": "",
        "vendor/theirs/x": "",
        "vendor/mine/x": "",
        "ünï/x.log": "",
        "ünï/x": "",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    expected = sorted(listing.stdout.decode().rstrip("\0").split("\0"))
    workspace = Workspace(tmp_path)
    assert sorted(item.path for item in workspace.walk() if item.kind == "file") == expected
    beneath = [path for path in expected if path.startswith("sub/")]
    assert sorted(item.path for item in workspace.walk("sub") if item.kind == "file") == beneath
    assert names(workspace.walk("build")) == ["build/x.o"]
