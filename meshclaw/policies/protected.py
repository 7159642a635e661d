"""What is written only where a pattern names it: what others obey later without being asked."""

from __future__ import annotations

from collections.abc import Sequence

PROTECTED = (
    # Later runs, and the programs that start them.
    *("meshclaw.yaml", "tasks", ".venv", "venv"),
    # Shells, logins, and what they start for the folder.
    *(".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".profile", ".inputrc"),
    *(".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout"),
    *(".kshrc", ".mkshrc", ".cshrc", ".tcshrc", ".login", ".logout"),
    *(".pam_environment", ".xinitrc", ".xprofile", ".xsession", ".xsessionrc", ".tmux.conf", ".screenrc"),
    *(".envrc", ".mise", ".mise.toml", "mise.toml", ".tool-versions"),
    # Settings of an account's programs: many of them name commands to run.
    *(".config", ".local", ".ssh", ".gnupg", ".aws", ".docker", ".kube", ".netrc", ".cargo", ".m2"),
    *(".npmrc", ".yarnrc", ".yarnrc.yml", ".yarn", ".pnpmfile.cjs", ".gdbinit", ".lldbinit", ".pdbrc"),
    # Editors.
    *(".vscode", ".idea", ".zed", ".fleet", ".devcontainer", ".devcontainer.json", ".dir-locals.el"),
    *(".vim", ".vimrc", ".gvimrc", ".exrc", ".nvimrc", ".nvim.lua", ".emacs", ".emacs.d"),
    # Version control, and hooks that it starts.
    *(".gitconfig", ".gitmodules", ".gitattributes", ".githooks", ".hg", ".hgrc", ".jj", ".husky"),
    *(".pre-commit-config.yaml", ".overcommit.yml", ".lefthook", "lefthook.yml", "lefthook.yaml"),
    *(".lefthook.yml", ".lefthook.yaml", "lefthook-local.yml", ".lefthook-local.yml"),
    # Servers that build what is pushed, with keys of their own.
    *(".github", ".gitlab", ".gitlab-ci.yml", ".gitea", ".forgejo", ".circleci", ".buildkite", ".tekton"),
    *(".travis.yml", ".cirrus.yml", ".drone.yml", ".woodpecker", ".woodpecker.yml", ".semaphore"),
    *("Jenkinsfile", "azure-pipelines.yml", "bitbucket-pipelines.yml", "appveyor.yml", ".appveyor.yml"),
    # Other agents: their settings, and the instructions that they take as a person's.
    *(".mcp.json", ".claude", ".claude.json", ".cursor", ".codex", ".gemini", ".windsurf", ".continue"),
    *(".roo", ".kiro", ".junie", ".opencode", "opencode.json", ".aider.conf.yml", ".agents"),
    *("AGENTS.md", "CLAUDE.md", "CLAUDE.local.md", "GEMINI.md", ".cursorrules", ".windsurfrules"),
    *(".clinerules", ".goosehints"),
)
"""At the project's root: written only where a pattern names them at its start. They decide what later runs
may do, or what a person's shell, editor, version control, build servers and agents do without asking."""


def guarding(path: str, protected: Sequence[str]) -> str | None:
    """The protected path that is `path` or above it. Case does not count: some file systems ignore it."""
    folded = path.lower()
    for one in protected:
        if folded == one.lower() or folded.startswith(one.lower() + "/"):
            return one
    return None
