# Needs Python 3.10 or newer, nothing else. Each target builds its own environment first.
PYTHON ?= python3
VENV ?= .venv

.PHONY: demo test check clean

demo: $(VENV)/.installed-all
	$(VENV)/bin/python scripts/demo.py

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest

# What continuous integration checks besides the tests.
check: $(VENV)/.installed-test
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# The mark stands beside the environment, so that a removed or half-built one is built again.
$(VENV)/.installed-%: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) .demo build dist *.egg-info
