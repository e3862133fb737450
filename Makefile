# Every command of the project; pre-commit and CI call these and define nothing themselves.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Tests run in this many processes, a file in one of them; most of their time is waiting.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install install-dev install-bench run test soak check format bench docs lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("wakeline needs Python 3.11 or newer, this is %d.%d; say PYTHON=/path/to/python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# One stamp per lock: a changed lock installs again, an unchanged one costs nothing.
$(VENV)/.runtime: requirements/runtime.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	$(BIN)/python -m streams.broker.install
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@

$(VENV)/.bench: requirements/bench.lock $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.lock
	@touch $@

install: $(VENV)/.runtime ## Make .venv with the pinned set, and fetch the broker
install-dev: $(VENV)/.dev ## The same, with what tests and checks need
install-bench: $(VENV)/.bench ## The same, with the peers of the benchmarks

run: install ## Start the pipeline: broker, feed, roles, ClickHouse, live view (ARGS="--for 60s")
	$(BIN)/wakeline up $(ARGS)

test: install-dev ## Run all tests but the long fault runs (ARGS="tests/streams -k kill" JOBS=0)
	$(BIN)/python -m pytest -m "not soak" -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

soak: install-dev ## Run the long fault runs
	$(BIN)/python -m pytest -m soak $(ARGS)

check: install-dev ## Laws, lint, types, configuration files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/wakeline topics check
	$(BIN)/python -m pytest -q tests/architecture

format: install-dev ## Format the code and mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install-bench ## Measure ours beside the peers; writes docs/benchmarks.md
	$(BIN)/python -m bench.run $(ARGS)

docs: install-dev ## Write docs/reference/ from topics.yaml, schemas and settings
	$(BIN)/wakeline topics docs --output docs/reference/asyncapi.json

lock: install-dev ## Pin requirements/*.in again: hashes only, no addresses
	$(BIN)/python -m pip install --quiet uv
	for name in runtime dev bench; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-index-url --no-emit-find-links requirements/$$name.in -o requirements/$$name.lock; done

clean: ## Remove the environment and caches (never the data folder)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
