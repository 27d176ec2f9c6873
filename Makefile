# make run    set up, start everything with the embedded defaults and show it working
# make demo   the same, and stop afterwards
# make test   set up, run every check and test
# make coverage  the tests, and which lines they ran
# make check  formatting, lint, types, import rules
# make docs   the documentation as a site, in build/site
# make bench  the benchmarks, each against its rival

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
DATA ?= .authsvc
RUN ?=
# Machines that run tests stall now and then, and each test waits for real servers. What fails beside
# others is named, and asked once more alone; what fails twice fails the run.
AGAIN := --last-failed --last-failed-no-failures none

.PHONY: run demo test coverage check docs bench lock clean

run: $(VENV)/.run
	$(BIN)/authsvc up --demo --data-dir $(DATA) $(RUN)

demo: $(VENV)/.run
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	  $(BIN)/authsvc up --demo --once --data-dir "$$dir/data" --port 0 --nats-port 0 $(RUN)

test: check demo $(VENV)/.nats
	$(BIN)/python -m pytest -n 3 --dist worksteal || $(BIN)/python -m pytest $(AGAIN)

# Not part of the tests: CPython 3.11 spins for ever where a trace function is set and two threads
# that used greenlets end at once (RESUME under DO_TRACING checks the eval breaker and starts over,
# while greenlet's pending call is under way). One run in twenty met it.
coverage: $(VENV)/.ready
	$(BIN)/python -m pytest -n 3 --dist worksteal --cov --cov-report=term:skip-covered

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.ready
	$(BIN)/python -m handbook
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(VENV)/.ready
	$(BIN)/authsvc bench mint
	$(BIN)/authsvc bench rpc --no-files
	$(BIN)/python -m benchmarks.rpc
	$(BIN)/python -m benchmarks.sync
	$(BIN)/python -m benchmarks.leak
	$(BIN)/python -m benchmarks.issue
	$(BIN)/python -m benchmarks.renewal
	$(BIN)/python -m benchmarks.revocation
	$(BIN)/python -m benchmarks.replicas
	$(BIN)/python -m benchmarks.outage
	$(BIN)/python -m benchmarks.overload
	$(BIN)/python -m benchmarks.users
	$(BIN)/python -m benchmarks.stepca
	$(BIN)/python -m benchmarks.replicas_speed
	$(BIN)/python -m benchmarks.revocation --users 20 --revocations 10000
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.mailboxes
	$(BIN)/python -m benchmarks.responders

# Names, versions and hashes only; every package comes from whatever index pip is set up with.
# It names all there is to install, so pip resolves nothing: asked to, it takes the newest
# coverage for pytest-cov's coverage[toml], and then finds no hash for it. pip check sees to the rest.
lock:
	uv pip compile pyproject.toml --extra server --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --output-file requirements.lock
	uv pip compile pyproject.toml --extra server --group install --universal --python-version 3.11 \
	  --constraint requirements.lock \
	  --generate-hashes --no-annotate --no-header --output-file requirements-run.lock

# What runs the service comes first and alone: whoever only tries it waits for a third of all packages.
$(VENV)/.run: pyproject.toml requirements-run.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name one: make PYTHON=python3.12 run")'
	@$(PYTHON) -m venv $(VENV)
	@echo 'setting up in $(VENV): about 70 packages'
	@$(PIP) --no-deps --require-hashes -r requirements-run.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready: requirements.lock $(VENV)/.run
	$(PIP) --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip check --quiet --disable-pip-version-check
	@touch $@

# NATS's own command, which one of the examples shows: compiled once, where Go is installed.
$(VENV)/.nats: tests/examples/nats/go.sum $(VENV)/.ready
	if command -v go > /dev/null; then go build -C tests/examples/nats -buildvcs=false \
	  -o $(abspath $(BIN))/nats github.com/nats-io/natscli/nats; fi
	@touch $@

clean:
	rm -rf $(VENV) .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
