"""The operator's ceiling: a task does what it and the ceiling allow, the operator's flags go beyond."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshclaw.config import load_config
from meshclaw.config.show import rows
from meshclaw.errors import ProblemsError
from meshclaw.policies import Ceiling, Decision, Effects, Rules, TaskPolicy

FILE = "/home/me/.config/meshclaw/config.yaml"


def review(policy: TaskPolicy, **effects: str) -> Decision:
    values: dict[str, Any] = {key: (value,) for key, value in effects.items()}
    return policy.review(Effects(**values))


def test_without_a_ceiling_the_task_alone_decides() -> None:
    policy = TaskPolicy(["src/**"], ["make *"], ["a.org"], shell_enabled=True)
    assert review(policy, writes="src/a").allowed
    assert review(policy, commands="make it").allowed
    assert review(policy, hosts="a.org:443").allowed


@pytest.mark.parametrize(
    ("ceiling", "path", "allowed"),
    [
        (("docs/**",), "src/a.py", False),
        (("docs/**",), "docs/a.md", True),
        (("**/*.md",), "docs/a.md", True),
        (("**/*.md",), "docs/a.py", False),
        ((), "docs/a.md", False),
        (("**",), "docs/a.md", True),
        (("**",), "lib/a.md", False),
        (("lib/**",), "lib/a.md", False),
    ],
)
def test_writing_needs_both(ceiling: tuple[str, ...], path: str, allowed: bool) -> None:
    policy = TaskPolicy(["src/**", "docs/**"], ceiling=Ceiling(write=ceiling))
    assert review(policy, writes=path).allowed is allowed


@pytest.mark.parametrize(
    ("task", "ceiling", "command", "allowed"),
    [
        (("make *",), ("make test",), "make test", True),
        (("make *",), ("make test",), "make install", False),
        (("make *",), ("make *", "git *"), "git push", False),
        (("make *", "git *"), ("make *",), "make a && git push", False),
        (("make *", "git *"), ("make *", "git *"), "make a && git push", True),
        (("*",), ("make *",), "make a", True),
        (("*",), ("make *",), "make a > b", False),
        (("*",), ("make *",), "rm -rf x", False),
        (("*",), ("*",), "make a > b", True),
        (("make *",), ("*",), "make a > b", False),
        (("make *",), ("*",), "make a", True),
        (("*",), (), "make a", False),
        (("eval *",), ("* x",), "eval x", False),
    ],
)
def test_running_needs_both(
    task: tuple[str, ...], ceiling: tuple[str, ...], command: str, allowed: bool
) -> None:
    policy = TaskPolicy(run=task, ceiling=Ceiling(run=ceiling), shell_enabled=True)
    assert review(policy, commands=command).allowed is allowed


def test_connecting_needs_both() -> None:
    policy = TaskPolicy(network=["*.a.org", "b.org"], ceiling=Ceiling(network=("x.a.org", "c.org")))
    assert review(policy, hosts="x.a.org:443").allowed
    for host in ("y.a.org:443", "b.org", "c.org"):
        assert not review(policy, hosts=host).allowed


def test_flags_are_the_operators_and_go_beyond() -> None:
    granted = Rules(["src/a.py"], ["make install"], ["b.org"])
    closed = Ceiling(write=(), run=(), network=())
    policy = TaskPolicy(["**"], ["*"], ["*"], granted=granted, ceiling=closed, shell_enabled=True)
    assert review(policy, writes="src/a.py").allowed
    assert review(policy, commands="make install").allowed
    assert review(policy, hosts="b.org:443").allowed
    assert not review(policy, writes="src/b.py").allowed
    assert not review(policy, commands="make install all").allowed
    assert not review(policy, hosts="c.org:443").allowed


def test_a_command_may_be_half_the_flags_and_half_the_tasks() -> None:
    ceiling = Ceiling(run=("make *",))
    policy = TaskPolicy(
        run=["make *", "id"], granted=Rules(run=["git push"]), ceiling=ceiling, shell_enabled=True
    )
    assert review(policy, commands="make a && git push").allowed
    assert not review(policy, commands="make a && id").allowed


def test_a_denial_names_the_operators_setting() -> None:
    ceiling = Ceiling(write=("docs/**",), run=("make *",), network=(), source=FILE)
    policy = TaskPolicy(
        ["src/**"], ["git *"], ["a.org"], ceiling=ceiling, shell_enabled=True, source="tasks/t.yaml"
    )
    assert review(policy, writes="src/a b") == Decision(
        False,
        "writing src/a b is beyond the operator's policy.write, which allows docs/**",
        f"add \"src/a b\" to policy.write in {FILE}, or pass --allow-write 'src/a b'",
    )
    assert review(policy, commands="git push") == Decision(
        False,
        "running git push is beyond the operator's policy.run, which allows make *",
        f"add \"git push\" to policy.run in {FILE}, or pass --allow-run 'git push'",
    )
    assert review(policy, hosts="a.org:443") == Decision(
        False,
        "connecting to a.org:443 is beyond the operator's policy.network, which allows nothing",
        f'add "a.org:443" to policy.network in {FILE}',
    )


def test_what_both_deny_has_to_be_added_to_both() -> None:
    policy = TaskPolicy(["src/**"], ceiling=Ceiling(write=("src/**",), source=FILE), source="tasks/t.yaml")
    decision = review(policy, writes="lib/a")
    assert decision.reason == "writing lib/a is not allowed; allowed are src/**"
    assert decision.remedy == (
        f'add "lib/a" to allow.write in tasks/t.yaml and to policy.write in {FILE}, '
        "or pass --allow-write lib/a"
    )


def test_a_full_shell_beyond_the_ceiling_says_so() -> None:
    policy = TaskPolicy(run=["*"], ceiling=Ceiling(run=("make *",), source=FILE), shell_enabled=True)
    decision = review(policy, commands="make a > b")
    assert decision.reason.endswith(
        "; a full shell is beyond the operator's policy.run, which allows make *"
    )
    assert decision.remedy == (f"add \"*\" (a full shell) to policy.run in {FILE}, or pass --allow-run '*'")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "meshclaw.yaml",
            "tasks",
            "tasks/a.yaml",
            ".envrc",
            ".ENVRC",
            ".mcp.json",
            ".claude",
            ".claude/x/y",
        ),
        *(".vscode", ".vscode/tasks.json", ".idea", ".husky", ".gitmodules", ".gitattributes"),
        *(".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".profile", ".login"),
        *(".zshrc", ".zshenv", ".zprofile", ".kshrc", ".cshrc", ".tcshrc"),
        *(".zlogin", ".zlogout", ".bash_aliases", ".config/fish/config.fish", ".ssh/authorized_keys"),
        *(".gitconfig", ".exrc", ".vimrc", ".pre-commit-config.yaml", "lefthook.yml", ".tool-versions"),
        *(".github/workflows/ci.yml", ".gitlab-ci.yml", "Jenkinsfile", ".devcontainer/devcontainer.json"),
        *(".cursor/mcp.json", ".codex/config.toml", "AGENTS.md", "CLAUDE.md", ".aider.conf.yml"),
        *(".venv/bin/python", "venv/lib/x.pth", ".npmrc", ".yarn/releases/yarn.cjs"),
    ],
)
def test_what_later_runs_and_programs_obey_must_be_named(path: str) -> None:
    first = path.split("/")[0]
    for wide in (["**"], ["*"], [".*"], ["*/**"], [f"?{first[1:]}", f"?{first[1:]}/**"], [f"**/{path}"]):
        decision = review(TaskPolicy(wide), writes=path)
        assert not decision.allowed, wide
        assert "a pattern must name it" in decision.reason
    for named in ([path], [f"./{path}"], [f"{first}/**", first]):
        assert review(TaskPolicy(named), writes=path).allowed
    assert review(TaskPolicy(["**"]), writes=f"src/{path}").allowed
    assert review(TaskPolicy(["**"]), writes=f"{path}.bak" if "/" not in path else "x").allowed
    assert not review(TaskPolicy([path], ceiling=Ceiling(write=("**",))), writes=path).allowed
    assert review(TaskPolicy([path], ceiling=Ceiling(write=(path,))), writes=path).allowed


def test_a_tasks_folder_elsewhere_is_protected_too() -> None:
    policy = TaskPolicy(["**"], protected=("ci/jobs",))
    assert not review(policy, writes="ci/jobs/a.yaml").allowed
    assert not review(TaskPolicy(["ci/**"], protected=("ci/jobs",)), writes="ci/jobs/a.yaml").allowed
    assert review(policy, writes="ci/other").allowed
    assert review(TaskPolicy(["ci/jobs/*"], protected=("ci/jobs",)), writes="ci/jobs/a.yaml").allowed


@pytest.mark.parametrize(
    ("task", "ceiling", "both"),
    [
        (("src/**",), None, ("src/**",)),
        (("src/**",), ("**",), ("src/**",)),
        (("**",), ("src/**",), ("src/**",)),
        (("src/",), ("src/**",), ("src/", "src/**")),
        (("src/a/**", "lib/x"), ("src/**",), ("src/a/**",)),
        (("src/*.py",), ("**/*.py",), ("src/*.py",)),
        (("src/**",), ("src/*",), ("src/*",)),
        (("src/**",), ("srcs/**",), ()),
        (("a?.py",), ("a*.py",), ()),
        (("tasks/**",), ("**",), ()),
        (("tasks/**",), ("tasks/**",), ("tasks/**",)),
        (("src/**",), (), ()),
    ],
)
def test_a_sandbox_gets_globs_that_both_allow(
    task: tuple[str, ...], ceiling: tuple[str, ...] | None, both: tuple[str, ...]
) -> None:
    assert TaskPolicy(task, ceiling=Ceiling(write=ceiling)).writable == both
    granted = Rules(["flag"])
    assert TaskPolicy(task, granted=granted, ceiling=Ceiling(write=ceiling)).writable == (*both, "flag")


NAMES = st.sampled_from(["a", "b", "ab", "*", "**", "a*", "*b", "?", "[ab]", "tasks", ".envrc", "a**"])
GLOBS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "aab", "tasks", ".envrc"]), min_size=1, max_size=4)


@given(st.lists(GLOBS, max_size=3), st.lists(GLOBS, max_size=3), PATHS.map("/".join))
def test_a_sandboxs_globs_allow_no_more_than_review(task: list[str], most: list[str], path: str) -> None:
    policy = TaskPolicy(task, ceiling=Ceiling(write=tuple(most)))
    if any(review(TaskPolicy([glob]), writes=path).allowed for glob in policy.writable):
        assert review(policy, writes=path).allowed


HOSTS = st.sampled_from(
    [
        "a.org",
        "*.org",
        "b.a.org",
        "*.a.org",
        "*",
        "a.org:443",
        "*:443",
        "*.org:80",
        "?.org",
        "a.org:*",
        "*:*",
    ]
)
ASKED = st.sampled_from(
    ["a.org", "b.a.org:443", "a.org:443", "x.org:80", "b.a.org", "c.com:443", "a.org:80", "a.org:22"]
)


@given(st.lists(HOSTS, max_size=3), st.lists(HOSTS, max_size=3), ASKED)
def test_a_sandboxs_hosts_are_no_more_than_review_allows(
    task: list[str], most: list[str], host: str
) -> None:
    policy = TaskPolicy(network=task, ceiling=Ceiling(network=tuple(most)))
    if review(TaskPolicy(network=policy.reachable), hosts=host).allowed:
        assert review(policy, hosts=host).allowed


def test_hosts_that_both_allow() -> None:
    policy = TaskPolicy(network=["*.a.org", "b.org:443"], ceiling=Ceiling(network=("x.a.org", "b.org")))
    assert set(policy.reachable) == {"x.a.org", "b.org:443"}
    assert TaskPolicy(network=["b.org"]).reachable == ("b.org",)


def test_a_host_that_is_no_host_matches_nothing() -> None:
    policy = TaskPolicy(network=["*.a.org", "*"])
    for host in ("evil.com/.a.org", "evil.com#.a.org", "evil.com?.a.org", "u@evil.a.org", "a b.a.org", ""):
        assert not review(policy, hosts=host).allowed
    assert review(policy, hosts="evil.a.org:443").allowed


def test_the_operators_file_sets_the_ceiling(tmp_path: Path) -> None:
    operator = tmp_path / "config.yaml"
    operator.write_text("policy:\n  write: [src/**, docs/]\n  run: []\n  accept_risk: true\n")
    config = load_config(operator, tmp_path / "meshclaw.yaml", {})
    assert config.policy == Ceiling(("src/**", "docs/"), (), None, True, str(operator))
    shown = {row.key: (row.value, str(row.origin)) for row in rows(config)}
    assert shown["policy.write"] == ("src/**, docs/", f"{operator}:2:10")
    assert shown["policy.run"][0] == "nothing"
    assert shown["policy.network"] == ("what the task says", "default")
    assert shown["policy.accept_risk"][0] == "true"


@pytest.mark.parametrize("key", ["write: ['**']", "run: ['*']", "network: ['*']", "accept_risk: true"])
def test_a_project_sets_no_ceiling(tmp_path: Path, key: str) -> None:
    text = f"policy:\n  {key}\n"
    operator, project = tmp_path / "config.yaml", tmp_path / "meshclaw.yaml"
    project.write_text(text)
    with pytest.raises(ProblemsError) as caught:
        load_config(operator, project, {})
    assert f"only the operator's settings may set 'policy.{key.split(':')[0]}'" in str(caught.value)
    operator.write_text(text)
    project.write_text("")
    assert load_config(operator, project, {}).policy != load_config(None, None, {}).policy


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("write: src/**", ":1:17: 'policy.write' takes a list - write write: [...]"),
        ("write: null", "'policy.write' takes a list"),
        ("write: [1]", "an item of 'policy.write' must be text"),
        ("write: ['']", "policy.write: there is no value"),
        ("write: [/etc/x]", "policy.write: "),
        ("run: ['a && b']", "policy.run: "),
        ("accept_risk: yes", "policy.accept_risk: 'yes' is neither true nor false"),
        ("accept_risk: [true]", "'policy.accept_risk' takes one value"),
        ("wriet: []", "unknown key 'wriet' - did you mean 'write'?"),
    ],
)
def test_a_ceiling_that_cannot_be_read_is_a_problem(tmp_path: Path, text: str, complaint: str) -> None:
    operator = tmp_path / "config.yaml"
    operator.write_text(f"policy: {{{text}}}\n")
    with pytest.raises(ProblemsError) as caught:
        load_config(operator, None, {})
    assert complaint in str(caught.value)
