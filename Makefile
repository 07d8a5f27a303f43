# make run      set up, then serve on http://127.0.0.1:5000
# make test     set up, then run every test
# make check    ruff and mypy
# make bench    measure; writes bench/RESULTS.md
# make install  set up alone

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
TEST_PACKAGES := chromium espeak-ng fluidsynth fluid-soundfont-gm redis-server

.PHONY: install run test check bench

install: $(INSTALLED)

run: $(INSTALLED)
	@exec $(BIN)/python app.py

test: $(INSTALLED_DEV)
	@sh tests/install_packages.sh $(TEST_PACKAGES)
	$(BIN)/python -m pytest $(ARGS)

check: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(INSTALLED_DEV)
	@sh tests/install_packages.sh $(TEST_PACKAGES)
	$(BIN)/python -m bench.run

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): requirements.txt | $(BIN)/python
	$(PIP) -r requirements.txt
	@touch $@

$(INSTALLED_DEV): requirements-dev.txt $(INSTALLED)
	$(PIP) -r requirements-dev.txt
	@touch $@
