"""Everything in a repository by which git can be made to run a program, and how it comes to that."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HOOKS = (
    "applypatch-msg",
    "commit-msg",
    "fsmonitor-watchman",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-update",
    "pre-auto-gc",
    "pre-commit",
    "pre-receive",
    "prepare-commit-msg",
    "reference-transaction",
    "update",
)


@dataclass(frozen=True)
class Plant:
    """`config` goes into the repository's settings, `files` beside it and `tree` into the work tree.

    `@` in a text is the program that leaves the mark. `control` is a script that makes git run it.
    """

    config: str = ""
    control: str = "git status"
    files: Mapping[str, str] = field(default_factory=dict)
    tree: Mapping[str, str] = field(default_factory=dict)

    def put(self, name: str, git_dir: Path, tree: Path, marks: Path) -> None:
        """Plants it, to leave the mark `marks/name`."""
        program = marks / f"{name}.sh"
        program.write_text(f"#!/bin/sh\ntouch '{marks}/{name}'\n")
        program.chmod(0o755)
        with (git_dir / "config").open("a") as config:
            config.write(self.config.replace("@", str(program)) + "\n")
        for folder, texts in ((git_dir, self.files), (tree, self.tree)):
            for path, text in texts.items():
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("a") as file:
                    file.write(text.replace("@", str(program)))
                if "hooks/" in path:
                    target.chmod(0o755)

    def run_control(self, tree: Path) -> None:
        """What a person would do there with plain git; whether it succeeds does not matter."""
        subprocess.run(
            ["/bin/sh", "-c", f"echo more >> app.py\n{self.control}"],
            cwd=tree,
            env={**os.environ, **_IDENTITY},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )


_IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "T"), ("EMAIL", "t@example.com"))
}
_MONITOR = "[core]\n\tfsmonitor = @\n"
_NESTED = """
git init -q sub; git -C sub commit -q --allow-empty -m one; git add sub; git commit -qm sub
git -C sub commit -q --allow-empty -m two
"""
_MERGE = """
git commit -qam one; git checkout -q -b other HEAD~; echo less > app.py; git commit -qam two; git merge -q -
"""

PLANTS: dict[str, Plant] = {
    "hooks": Plant(
        control="git commit -qam x",
        files={f"hooks/{hook}": "#!/bin/sh\nexec @ </dev/null\n" for hook in HOOKS},
    ),
    "hooks-path": Plant(
        "[core]\n\thooksPath = evil/hooks\n",
        "git commit -qam x",
        tree={f"evil/hooks/{hook}": "#!/bin/sh\nexec @ </dev/null\n" for hook in HOOKS},
    ),
    "fsmonitor": Plant(_MONITOR),
    "filter-clean": Plant(
        '[filter "evil"]\n\tclean = @\n', "git add .", tree={".gitattributes": "* filter=evil\n"}
    ),
    "filter-smudge": Plant(
        '[filter "evil"]\n\tsmudge = @\n',
        "git checkout -- app.py",
        tree={".gitattributes": "* filter=evil\n"},
    ),
    "filter-process": Plant(
        '[filter "evil"]\n\tprocess = @\n\trequired = true\n',
        "git add .",
        tree={".gitattributes": "* filter=evil\n"},
    ),
    "filter-in-info": Plant(
        '[filter "evil"]\n\tclean = @\n', "git add .", {"info/attributes": "* filter=evil\n"}
    ),
    "textconv": Plant(
        '[diff "evil"]\n\ttextconv = @\n', "git diff", tree={".gitattributes": "* diff=evil\n"}
    ),
    "diff-command": Plant(
        '[diff "evil"]\n\tcommand = @\n', "git diff", tree={".gitattributes": "* diff=evil\n"}
    ),
    "external-diff": Plant("[diff]\n\texternal = @\n", "git diff"),
    "merge-driver": Plant(
        '[merge "evil"]\n\tdriver = @\n', _MERGE, tree={".gitattributes": "* merge=evil\n"}
    ),
    "alias": Plant("[alias]\n\tzz = !@ </dev/null\n", "git zz"),
    "ssh-command": Plant("[core]\n\tsshCommand = @\n", "git ls-remote ssh://example.com/x"),
    "proxy": Plant("[core]\n\tgitProxy = @\n", "git ls-remote git://example.com/x"),
    "upload-pack": Plant('[remote "evil"]\n\turl = .\n\tuploadpack = @\n', "git fetch evil"),
    "promisor": Plant(
        "[core]\n\trepositoryFormatVersion = 1\n\tsshCommand = @\n[extensions]\n\tpartialClone = evil\n"
        '[remote "evil"]\n\turl = ssh://example.com/x\n\tpromisor = true\n',
        f"git cat-file -p {'5' * 40}",
    ),
    "credential-helper": Plant(
        "[credential]\n\thelper = @\n",
        "printf 'protocol=https\\nhost=example.com\\n' | git credential fill",
    ),
    "editor": Plant("[core]\n\teditor = @\n", "git commit -a"),
    "signing": Plant("[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = @\n", "git commit -qam x"),
    "include": Plant("[include]\n\tpath = evil-config\n", files={"evil-config": _MONITOR}),
    "include-if": Plant('[includeIf "gitdir:/"]\n\tpath = evil-config\n', files={"evil-config": _MONITOR}),
    "worktree-settings": Plant(
        "[core]\n\trepositoryFormatVersion = 1\n[extensions]\n\tworktreeConfig = true\n",
        files={"config.worktree": _MONITOR},
    ),
    "submodule-update": Plant(
        '[submodule "sub"]\n\tupdate = !@ </dev/null #\n\turl = ./sub\n\tactive = true\n',
        f"{_NESTED} git submodule update",
        tree={".gitmodules": '[submodule "sub"]\n\tpath = sub\n\turl = ./sub\n'},
    ),
    "nested-repository": Plant(
        control=f"{_NESTED} git status",
        tree={
            "sub/.git/config": "[core]\n\trepositoryFormatVersion = 0\n\tfsmonitor = @\n",
            "sub/.git/HEAD": "ref: refs/heads/main\n",
            "sub/.git/refs/keep": "",
            "sub/.git/objects/keep": "",
            "sub/file": "text\n",
        },
    ),
}
