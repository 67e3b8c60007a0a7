# Every command a newcomer needs. Python 3.11 to 3.13 and make are all it takes; the rest is installed into .venv.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help install demo ui cluster sandbox test lint bench bench-scale requirements clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(READY): requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "needs Python 3.11, 3.12 or 3.13 on PATH (or: make PYTHON=/path/to/python …)"; exit 1; }
	@echo "Installing into $(VENV) with $(PYTHON); about two minutes the first time."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

install: $(READY)  ## make .venv with everything, pinned

demo: $(READY)  ## the main job: a real shop's year through real Airflow, a table at the end
	@$(BIN)/python -m demo

ui: $(READY)  ## the demo's Airflow left running at a printed address, until Ctrl-C
	@$(BIN)/python -m demo --ui

cluster: $(READY)  ## the services of docker-compose.yaml as processes: Celery, two workers, Postgres, S3; until Ctrl-C
	@$(BIN)/python -m cluster

sandbox: $(READY)  ## Luigi's Box, Klaviyo, SmartEmailing and Advisable.ai, played on port 8090 (PORT=…, STATE=…)
	@$(BIN)/python -m include.sandbox --port $(or $(PORT),8090) --state $(or $(STATE),build/sandbox)

test: $(READY)  ## all tests
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(READY)  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(READY)  ## speed and memory: a table, and benchmarks/results.md
	@$(BIN)/python -m benchmarks

bench-scale: $(READY)  ## how time and memory grow with size: tables and plots in docs/scaling.md; half an hour
	@$(BIN)/python -m benchmarks.scale

requirements: $(READY)  ## compile requirements*.txt anew from pyproject.toml, the largest first
	@$(BIN)/python -m pip install --quiet uv
	@$(COMPILE) --upgrade --extra cluster --extra dev -o requirements-dev.txt
	@rm -f requirements-cluster.txt requirements.txt
	@$(COMPILE) -c requirements-dev.txt --extra cluster -o requirements-cluster.txt
	@$(COMPILE) -c requirements-dev.txt -o requirements.txt

clean:  ## remove .venv and everything that was built
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
