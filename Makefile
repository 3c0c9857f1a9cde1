# `make help` lists the targets. The first target that needs it creates .venv and installs RAES.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
RUN ?= runs
PROCESSES ?= 3
unexport PYTHONDONTWRITEBYTECODE  # with it, as container images set it, every command and worker compiles RAES anew
CLUSTER_TESTS ?= tests
CLUSTER ?= cluster/local.yaml

.DEFAULT_GOAL := help
.PHONY: help setup train test test-tools tables notebook docs test-docs test-cluster test-attack test-slow lint type fmt bench tensorboard clean check wheels release cluster-train

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

setup: $(READY_DEV) ## Create .venv and install RAES with its tested versions, and what its tests need

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "RAES needs Python 3.11 or newer; this is $$($(PYTHON) --version). Run: make PYTHON=python3.12"; exit 2; }
	@echo "installing RAES and what it needs into $(VENV): a few minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[box2d,plot]'
	@touch $@

$(READY_DEV): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

train: $(READY) ## Train HalfCheetah for 2.5 minutes and show how well it runs, and what it made of this machine
	@run=$(RUN)/first-$$(date +%Y%m%d-%H%M%S); \
	$(BIN)/python -m raes.train env=HalfCheetah max_minutes=2.5 run_dir=$$run \
		&& echo && $(BIN)/python -m raes.bench share run_dir=$$run

test: $(READY_DEV) ## Run the tests (about 10 minutes on 2 cores)
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

test-tools: $(READY_DEV) ## Run the tests of films, windows, pages, the notebook and the benchmarks (about 8 minutes)
	$(BIN)/python -m pytest -m tools -n 2 --dist loadfile

docs: $(READY_DEV) ## Build the documentation into site/; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

tables: $(READY_DEV) ## Write the generated tables and curves of the documentation anew
	$(BIN)/python docs/build/generate.py

notebook: $(READY_DEV) ## Execute examples/raes.ipynb and keep its outputs in it (about a minute)
	$(BIN)/python docs/build/notebook.py

cluster-train: $(READY_DEV) ## Train on a running cluster: make cluster-train CLUSTER=cluster/aws.yaml WORDS="env=Humanoid ..."
	PATH="$(abspath $(BIN)):$$PATH" cluster/train.sh $(CLUSTER) $(WORDS)

test-cluster: $(READY_DEV) ## Run the tests on clusters: virtual nodes, and real launches on hosts of namespaces
	tests/setup-system.sh
	$(BIN)/python -m pytest -m cluster $(CLUSTER_TESTS)

test-attack: $(READY_DEV) ## Run the attacks: foreign files, kills at system calls, hostile environments (about 10 minutes)
	$(BIN)/python -m pytest -m attack -n 2 --dist loadfile tests/attack

test-docs: $(READY_DEV) ## Run the commands of the documentation, shortened (about 5 minutes)
	$(BIN)/python -m pytest -m documentation -n 2

test-slow: $(READY_DEV) ## Run the learning and installation tests too (about an hour)
	$(BIN)/python -m pytest -m slow --timeout 3600

wheels: $(READY_DEV) ## Build dist/: RAES as a wheel and its tested versions, which the machines of a cluster install
	rm -rf dist && mkdir dist && cp constraints.txt dist/
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

release: $(READY) ## Date the changelog's section, build dist/, check it, and train with it in a fresh environment
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[release]'
	$(BIN)/python .ci/release.py

lint: $(READY_DEV) ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: $(READY_DEV) ## Check types
	$(BIN)/mypy

fmt: $(READY_DEV) ## Format and fix style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint type test ## Everything that must pass before a commit

bench: $(READY_DEV) ## Run all benchmarks, of raes.bench and of benchmarks/ (about two hours)
	@mkdir -p $(RUN)
	@for name in rollout atari timestep workers update; do $(BIN)/python -m raes.bench $$name out=$(RUN)/bench_$$name.json || exit 1; done
	@for name in low_rank bbob functions pool scale chaos; do $(BIN)/python -m benchmarks $$name out=$(RUN)/bench_$$name.json || exit 1; done

tensorboard: $(READY) ## Show the curves of all runs
	$(BIN)/tensorboard --logdir $(RUN)

clean: ## Remove .venv and caches; runs stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
