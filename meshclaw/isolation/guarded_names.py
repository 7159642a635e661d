"""Which files tests are made of, and which decide how tests, builds and linters run.

The names are those of the tools' own manuals. Files that a tool reads besides, by a name that the project
chooses, are a task's to name in `protect:`.
"""

from __future__ import annotations

TESTS = (
    "**/test/**",
    "**/tests/**",
    "**/Tests/**",
    "**/*.Tests/**",
    "**/spec/**",
    "**/__tests__/**",
    "**/__mocks__/**",
    "**/__snapshots__/**",
    "**/testdata/**",
    "**/e2e/**",
    "cypress/**",
    "**/*.feature",
    "features/step_definitions/**",
    "features/support/**",
    "**/test.py",
    "**/tests.py",
    "**/test_*.py",
    "**/*_test.*",
    "**/*_tests.*",
    "**/*_spec.*",
    "**/*.test.*",
    "**/*.spec.*",
    "**/*Test.java",
    "**/*Tests.java",
    "**/*IT.java",
    "**/*Test.kt",
    "**/*Tests.kt",
    "**/*Test.php",
    "**/*Test.cs",
    "**/*Tests.cs",
    "**/*Tests.swift",
    "**/*.bats",
    "**/*.t",
)
"""Files of tests: those that were there before the start count as they were; new ones may be added."""

_ANY_LANGUAGE = (
    "**/Makefile",
    "**/makefile",
    "**/GNUmakefile",
    "**/*.mk",
    "**/CMakeLists.txt",
    "**/justfile",
    "**/Justfile",
    "**/.justfile",
    "**/Taskfile.y*ml",
    "**/taskfile.y*ml",
    "**/Taskfile.dist.y*ml",
    "**/taskfile.dist.y*ml",
    "**/.pre-commit-config.y*ml",
    "**/.env.test*",
    "**/.tool-versions",
    "**/mise.toml",
    "**/.mise.toml",
)
_PYTHON = (
    "**/*.dist-info/**",
    "**/*.egg-info/**",
    "**/.python-version",
    "**/conftest.py",
    "**/pytest.ini",
    "**/.pytest.ini",
    "**/pytest.toml",
    "**/.pytest.toml",
    "**/tox.ini",
    "**/tox.toml",
    "**/setup.cfg",
    "**/setup.py",
    "**/pyproject.toml",
    "**/noxfile.py",
    "**/hatch.toml",
    "**/uv.toml",
    "**/pixi.toml",
    "**/.coveragerc",
    "**/sitecustomize*",
    "**/sitecustomize/**",
    "**/usercustomize*",
    "**/usercustomize/**",
    "**/mypy.ini",
    "**/.mypy.ini",
    "**/ruff.toml",
    "**/.ruff.toml",
    "**/.flake8",
    "**/.pylintrc",
    "**/pylintrc",
    "**/pyrightconfig.json",
    "pytest.py",
    "unittest.py",
)
_JAVASCRIPT = (
    "**/.nvmrc",
    "**/package.json",
    "**/.npmrc",
    "**/.yarnrc*",
    "**/.pnp.*",
    "**/bunfig.toml",
    "**/deno.json*",
    "**/tsconfig*.json",
    "**/jsconfig.json",
    "**/jest.config.*",
    "**/jest.setup.*",
    "**/vitest.config.*",
    "**/vitest.setup.*",
    "**/vitest.workspace.*",
    "**/vite.config.*",
    "**/.mocharc*",
    "**/karma.conf.*",
    "**/playwright.config.*",
    "**/cypress.config.*",
    "**/ava.config.*",
    "**/jasmine.json",
    "**/.nycrc*",
    "**/.taprc",
    "**/.babelrc*",
    "**/babel.config.*",
    "**/.swcrc",
    "**/.eslintrc*",
    "**/.eslintignore",
    "**/eslint.config.*",
    "**/biome.json*",
    "**/turbo.json",
    "**/nx.json",
)
_OTHERS = (
    "**/Cargo.toml",
    "**/.cargo/**",
    "**/build.rs",
    "**/rust-toolchain*",
    "**/clippy.toml",
    "**/.clippy.toml",
    "**/go.work",
    "**/.golangci.*",
    "**/pom.xml",
    "**/.mvn/**",
    "**/build.gradle*",
    "**/settings.gradle*",
    "**/gradle.properties",
    "**/gradlew",
    "**/mvnw",
    "**/Directory.Build.*",
    "**/*.runsettings",
    "**/phpunit.xml*",
    "**/phpunit.dist.xml",
    "**/composer.json",
    "**/phpstan.neon*",
    "**/Rakefile",
    "**/*.rake",
    "**/.rspec",
    "**/.rubocop.yml",
    "**/mix.exs",
)
CONFIGURATION = (*_ANY_LANGUAGE, *_PYTHON, *_JAVASCRIPT, *_OTHERS)
"""Files that decide how checks run: as they were before the start, and gone where there was none."""

RUNNER_MODULES = frozenset(
    {"pytest", "_pytest", "pluggy", "iniconfig", "coverage", "nose2", "behave", "hypothesis"}
)
"""Packages that run Python's tests, beside those of the standard library."""

FORGEABLE = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".eslintcache"})
"""Caches that tools believe without looking at what they were made from; no tree for checks has them."""

CACHES = FORGEABLE | {".cache", ".nox", ".tox", ".venv", "node_modules", "target", "venv"}
"""Folders that no change is looked for in."""


def is_cache(path: str) -> bool:
    """Whether it is such a folder, or lies in one."""
    return not CACHES.isdisjoint(path.split("/"))
