# Set-up and the two commands of the README. PRESET and OPTIONS go to `glocal run`.
PYTHON ?= python3
PRESET ?= pusht-keypoints
OPTIONS ?=
BIN := .venv/bin

.PHONY: demo test check setup

demo: setup
	$(BIN)/glocal run $(PRESET) $(OPTIONS)

test: setup
	$(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "glocal needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@
