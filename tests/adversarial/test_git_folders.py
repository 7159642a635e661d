"""What a `.git` says that came with an archive or is a model's, and what git keeps that is secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from contained import Bench, git, needs_bubblewrap
from landlock_place import needs_landlock
from repository_place import Place
from repository_place import place as place

from meshclaw.errors import ProblemsError
from meshclaw.isolation.repository import find_repository
from meshclaw.sandbox.git_secrets import cleaned, holding_credentials
from meshclaw.sandbox.landlock import Landlock

SECRET = "the-secret-6120"
SETTINGS = {
    "a url": f'[remote "o"]\n\turl = https://ada:{SECRET}@h/x\n',
    "a url with two signs": f'[remote "o"]\n\turl = https://ada:x@{SECRET}@h/x\n',
    "a header": f"[http]\n\textraHeader = AUTHORIZATION: basic {SECRET}\n",
    "a header on one line": f'[http "https://h/"] extraheader = AUTHORIZATION: basic {SECRET}\n',
    "a name with a bracket": f'[http "https://h/]x"] extraheader={SECRET}\n',
    "a longer value": f"[http]\n\textraheader = one \\\n{SECRET} \\\n  {SECRET}\n\tproxy = x\n",
    "a name of a section": f'[url "https://ada:{SECRET}@h/"]\n\tinsteadOf = https://h/\n',
    "a token": f"[github]\n\toauth-token = {SECRET}\n",
    "a password": f"[sendemail]\n\tsmtpPass = {SECRET}\n",
    "a helper": f'[credential]\n\thelper = "!f() {{ echo password={SECRET}; }}; f"\n',
}
PLACES = (
    ".git/config",
    ".git/config.worktree",
    ".git/modules/sub/config",
    ".git/modules/a/b/config",
    ".git/modules/broken/config",
    ".git/modules/a/b/modules/c/config.worktree",
    ".git/worktrees/w/config.worktree",
    "src/n/.git/config",
    "src/n/.git/modules/x/config",
)


def put(project: Path, place: str, text: str) -> None:
    path = project / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if "broken" not in place:
        (path.parent / "HEAD").touch()
    path.write_text(text)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_lose_their_credentials_and_nothing_else(name: str) -> None:
    rest = "[user]\n\tname = Ada\r\n[core] bare = false\n"
    assert SECRET not in cleaned("config", SETTINGS[name] + rest)
    assert cleaned("config", SETTINGS[name] + rest).endswith(rest)
    assert cleaned("config", rest) == rest


@needs_bubblewrap
async def test_no_credential_of_gits_is_seen(bench: Bench) -> None:
    every = "".join(SETTINGS.values())
    git(bench.project, "init", "-q")
    for name in PLACES:
        put(bench.project, name, f"[user]\n\tname = kept\n{every}")
    (bench.project / ".git" / "credentials").write_text(f"https://ada:{SECRET}@h\n")
    for write in ((), ("**",), (".git/**", "src/**")):
        held = await bench.contained(f"grep -rho {SECRET} . ; grep -rlo 'name = kept' . | sort", *write)
        assert SECRET not in held.output
        assert held.output.split() == sorted(f"./{name}" for name in PLACES)
    assert SECRET in (await bench.free(f"grep -rho {SECRET} .")).output, "the probe itself does not work"


@needs_landlock
@pytest.mark.parametrize("place", [".git/config", ".git/modules/sub/config", "src/n/.git/config"])
async def test_nor_under_landlock(bench: Bench, place: str) -> None:
    put(bench.project, place, SETTINGS["a header on one line"])
    put(bench.project, "other/.git/config", "[user]\n\tname = kept\n")
    sandbox = Landlock(bench.machine, bench.private)
    script = f"cat '{place}' other/.git/config"
    held = await sandbox.execute(bench.command(script, ()))
    await sandbox.aclose()
    assert SECRET not in held.output
    assert "name = kept" in held.output
    assert SECRET in (await bench.free(script)).output, "the probe itself does not work"


def test_a_fifo_or_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git" / "config")
    (tmp_path / "elsewhere").write_text(SETTINGS["a token"])
    (tmp_path / ".git" / "config.worktree").symlink_to(tmp_path / "elsewhere")
    assert holding_credentials(tmp_path) == []
    (tmp_path / ".git" / "credentials").write_text(SECRET)
    assert holding_credentials(tmp_path) == [(tmp_path / ".git" / "credentials", "")]


CLOSED = """
import sys
from pathlib import Path
from meshclaw.sandbox import kernel
from meshclaw.sandbox.git_secrets import holding_credentials
project = Path(sys.argv[1])
kernel.give_up_rights()
for path, text in holding_credentials(project):
    print(path.relative_to(project), repr(text))
"""


def test_what_this_account_may_not_look_into_stops_no_command(tmp_path: Path) -> None:
    """As an ordinary account, which root's rights are given up for."""
    for name in ("a", "b", "c", "d/e"):
        put(tmp_path, f"{name}/.git/config", SETTINGS["a token"])
        put(tmp_path, f"{name}/.git/modules/m/config", "[core]\n")
    closed = ("a/.git", "b/.git/config", "b/.git/modules", "c/.git/modules/m", "d")
    for name in closed:
        (tmp_path / name).chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", CLOSED, str(tmp_path)], capture_output=True, text=True, check=False
    )
    for name in closed:
        (tmp_path / name).chmod(0o700)
    assert done.stderr == ""
    assert done.stdout == r"c/.git/config '[github]\n'" + "\n"


@pytest.fixture
def private(tmp_path: Path) -> Place:
    """Somebody's other repository, with a secret in it and in its folder."""
    found = Place(tmp_path / "private", tmp_path / "private-run")
    found.make()
    found.write(secret=SECRET)
    found.commit()
    (found.project / ".git" / "secret.txt").write_text(SECRET)
    return found


def lead(project: Path, private: Place, way: str) -> None:
    """Makes the project's repository lead into another."""
    other, own = private.project / ".git", project / ".git"
    if way == "a file":
        own.rename(project / "aside")
        own.write_text(f"gitdir: {other}\n")
    elif way == "a link":
        own.rename(project / "aside")
        own.symlink_to(other)
    elif way == "a worktree of its own making":
        own.rename(project / "aside")
        (project / ".wt").mkdir()
        (project / ".wt" / "gitdir").write_text(f"{own}\n")
        (project / ".wt" / "commondir").write_text(f"{other}\n")
        (project / ".wt" / "HEAD").write_text("ref: refs/heads/trunk\n")
        own.write_text(f"gitdir: {project / '.wt'}\n")
    elif way == "a worktree of another's":
        git(private.project, "worktree", "add", "-q", str(project.parent / "side"))
        own.rename(project / "aside")
        own.write_bytes((project.parent / "side" / ".git").read_bytes())
    elif way == "a common folder":
        (own / "commondir").write_text(f"{other}\n")
    else:
        git(project, "config", "core.worktree", str(project.parent))


WAYS = ("a file", "a link", "a worktree of its own making", "a worktree of another's")
OTHER_WAYS = ("a common folder", "a work tree above it")


@pytest.mark.parametrize("way", [*WAYS, *OTHER_WAYS])
async def test_no_copy_is_made_of_another_repository(place: Place, private: Place, way: str) -> None:
    lead(place.project, private, way)
    shown = git(place.project, "rev-parse", "--show-toplevel", "--git-common-dir")
    followed = os.path.realpath(place.project / shown.splitlines()[1])
    away = followed == str(private.project / ".git") or shown.startswith(f"{place.project.parent}\n")
    assert away, "the probe itself does not work"
    with pytest.raises(ProblemsError, match="does not say that"):
        await place.copy(dirty=True)


@needs_bubblewrap
@pytest.mark.parametrize("way", WAYS)
async def test_no_other_repository_is_seen_by_commands(
    place: Place, private: Place, home: Path, way: str
) -> None:
    lead(place.project, private, way)
    bench = Bench(place.project, home, place.run / "private")
    secret = private.project / ".git" / "secret.txt"
    script = f"cat '{secret}'; git log -p --all"
    assert SECRET not in (await bench.contained(script)).output
    assert SECRET in (await bench.free(script)).output, "the probe itself does not work"


async def test_repositories_that_say_so_are_taken(place: Place, tmp_path: Path) -> None:
    git(place.project, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    environment = dict(os.environ)
    assert find_repository(environment, tmp_path / "side")[1].common == place.project / ".git"
    git(
        place.project,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        str(place.project),
        "sub",
    )
    assert find_repository(environment, place.project / "sub")[1].top == place.project / "sub"
    git(tmp_path, "init", "-q", "--separate-git-dir", str(tmp_path / "apart"), str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "one")
    with pytest.raises(ProblemsError, match="does not say that"):
        find_repository(environment, tmp_path / "tree")
    git(tmp_path / "tree", "config", "core.worktree", str(tmp_path / "tree"))
    assert find_repository(environment, tmp_path / "tree")[1].git_dir == tmp_path / "apart"


async def test_what_is_borrowed_has_to_look_like_objects(
    place: Place, private: Place, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "id").write_text(SECRET)
    borrowed = place.project / ".git" / "objects" / "info" / "alternates"
    borrowed.write_text(f"{keys}\n{private.project}/.git/objects\n")
    stores = find_repository(dict(os.environ), place.project)[1].stores
    assert stores == (place.project / ".git/objects", private.project / ".git/objects")


@needs_bubblewrap
async def test_a_command_cannot_name_what_is_borrowed(place: Place, home: Path, tmp_path: Path) -> None:
    bench = Bench(place.project, home, place.run / "private")
    script = f"""git commit -q --allow-empty -m two; echo '{tmp_path}' > .git/objects/info/alternates
        mv .git/objects/info .git/objects/old; mkdir -p .git/objects/info; mv .git/objects .git/gone
        echo '{tmp_path}' > .git/objects/info/alternates; git log --oneline | wc -l"""
    held = await bench.contained(script, ".git/**", "**")
    assert held.output.split()[-1] == "2", held.output
    assert not (place.project / ".git" / "objects" / "info" / "alternates").exists()
    await bench.free("echo x > .git/objects/info/alternates")
    assert (place.project / ".git" / "objects" / "info" / "alternates").exists()
