# make run      set up, then serve on http://127.0.0.1:5000
# make test     set up, then run every test
# make demo     set up, then take a song through the service; SONG=path, VARIANT=htdemucs, WORDS=medium choose others
# make check    ruff and mypy
# make bench    measure; writes bench/RESULTS.md
# make mutate   send 5000 damaged songs, a thousand of each format; a few of them are among the tests
# make chaos    hurt a service for ten minutes, then see that every job has ended truly; one round is among the tests
# make schemathesis  draw two hundred requests for each operation of the API's description; three are among the tests
# make load     a thousand clients listen for a minute while jobs run: red when an event does not reach all of them
# make audit    ask PyPI for known weaknesses of all installed packages; needs the network
# make install  set up alone
# make train-demo  make the demo models anew from nothing, in train_demo/; hours
# make test-audiocraft  set up an environment with audiocraft, then test MusicGen through it

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
AUDIOCRAFT := .venv-audiocraft
AUDIT := .venv-audit
PIP_AUDIT := pip-audit==2.10.1
TEST_PACKAGES := chromium-headless-shell curl espeak-ng fluidsynth fluid-soundfont-gm redis-server

.PHONY: install run demo test test-audiocraft train-demo check bench load audit mutate chaos schemathesis

install: $(INSTALLED)

run: $(INSTALLED)
	@exec $(BIN)/python app.py

# The values go through the environment, so that a path may hold what the shell would read otherwise.
demo: $(INSTALLED)
	@exec $(BIN)/python demo.py $${VARIANT:+--variant "$$VARIANT"} $${WORDS:+--words "$$WORDS"} $${SONG:+"$$SONG"}

# Some systems set it; then each of some hundred processes would compile our modules anew.
test: export PYTHONDONTWRITEBYTECODE =
test: $(INSTALLED_DEV)
	@sh tests/install_packages.sh $(TEST_PACKAGES)
	$(BIN)/python -m pytest $(ARGS)

mutate: $(INSTALLED_DEV)
	MUTATIONS=1000 $(BIN)/python -m pytest -n 0 -s tests/test_mutations.py $(ARGS)

chaos: $(INSTALLED_DEV)
	CHAOS_SECONDS=$${CHAOS_SECONDS:-600} $(BIN)/python -m pytest -n 0 -s tests/test_chaos.py $(ARGS)

schemathesis: $(INSTALLED_DEV)
	EXAMPLES=$${EXAMPLES:-200} $(BIN)/python -m pytest -n 0 -s tests/test_openapi_schemathesis.py $(ARGS)

test-audiocraft: $(AUDIOCRAFT)/.installed
	$(AUDIOCRAFT)/bin/python -m pytest -n 0 tests/audiocraft $(ARGS)

check: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(INSTALLED_DEV)
	@sh tests/install_packages.sh $(TEST_PACKAGES)
	$(BIN)/python -m bench.run

load: $(INSTALLED_DEV)
	$(BIN)/python -m bench.load $(ARGS)

# A build of torch (2.13.0+cpu) is known by its version alone. --strict: what cannot be looked up is no good news.
audit: $(INSTALLED) $(AUDIT)/.installed
	$(BIN)/pip list --format=freeze --disable-pip-version-check | sed 's/+.*//' > $(AUDIT)/packages.txt
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip -r $(AUDIT)/packages.txt $(ARGS)

train-demo: $(INSTALLED)
	@sh tests/install_packages.sh espeak-ng fluidsynth fluid-soundfont-gm
	$(BIN)/python -m training.train_demo train_demo $(ARGS)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): requirements.txt | $(BIN)/python
	$(PIP) -r requirements.txt
	@touch $@

$(INSTALLED_DEV): requirements-dev.txt $(INSTALLED)
	$(PIP) -r requirements-dev.txt
	@touch $@

$(AUDIT)/.installed: Makefile
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet --disable-pip-version-check $(PIP_AUDIT)
	@touch $@

$(AUDIOCRAFT)/.installed: requirements-audiocraft.txt
	$(PYTHON) -m venv $(AUDIOCRAFT)
	$(AUDIOCRAFT)/bin/pip install --quiet --disable-pip-version-check -r requirements-audiocraft.txt
	$(AUDIOCRAFT)/bin/pip install --quiet --disable-pip-version-check --no-deps audiocraft==1.3.0 xformers==0.0.35
	@touch $@
