# Two commands are enough: `make demo` shows the platform at work, `make test` runs its tests. Each sets up what it
# needs in .venv and says what it does. `make help` lists the rest.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python that is new enough; name another with `make setup PYTHON=...`.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
# `gpu` instead of `cpu` on a machine with an NVIDIA GPU.
EXTRAS ?= cpu,dev
UV_VERSION := 0.13.8

BIN := .venv/bin
PACKAGES := $(wildcard services scheduler inference cache observability sdk tests benchmarks examples)
FAST_TESTS := $(wildcard tests/unit tests/property)
SERVER_TESTS := $(wildcard tests/conformance tests/simulation tests/integration tests/e2e tests/fault)
comma := ,
STAMP := .venv/.set-up-$(subst $(comma),-,$(EXTRAS))

# buf runs its plugins, which live in the environment.
BUF := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/buf
# Packages come from where pip takes them, also where that is a mirror.
MIRROR = $(or $(UV_DEFAULT_INDEX),$(PIP_INDEX_URL),$(shell $(BIN)/python -m pip config get global.index-url 2>/dev/null))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- the environment -------------------------------------------------------------------------------------------------

.PHONY: setup
setup: $(STAMP) ## Make the environment in .venv
	@echo "The environment is ready in .venv."

$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then echo "No Python 3.11 or newer was found. Install one, or run: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3" >&2; exit 1; fi
	@if [ ! -x $(BIN)/python ]; then echo "[1/3] making .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv --clear .venv; else echo "[1/3] .venv is there"; fi
	@if [ ! -x $(BIN)/uv ]; then echo "[2/3] fetching uv, the installer"; \
		$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); else echo "[2/3] uv is there"; fi
	@echo "[3/3] installing Forebay and the packages it needs (about 300 MB the first time)"
	@$(if $(MIRROR),UV_DEFAULT_INDEX="$(MIRROR)" )$(BIN)/uv pip install --python $(BIN)/python -e '.[$(EXTRAS)]' -c constraints.txt
	@touch $@

.PHONY: constraints
constraints: $(STAMP) ## Pin the newest versions that pyproject.toml allows, in constraints.txt
	$(BIN)/uv pip compile pyproject.toml --extra cpu --extra dev --extra bench --universal --python-version 3.11 \
		--upgrade --no-header --no-annotate --no-emit-index-url --quiet --output-file constraints.txt

.PHONY: clean
clean: ## Remove the environment, caches and build results
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(PACKAGES) protos -name __pycache__ -type d -prune -exec rm -rf {} +

# --- running it ------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: $(STAMP) ## Start everything, run the demo with a real model, stop everything
	@$(BIN)/forebay demo

.PHONY: up
up: $(STAMP) ## Start everything with the demo's model and stay in the foreground until Ctrl-C
	@$(BIN)/forebay up --demo-model

# --- tests and measurements ------------------------------------------------------------------------------------------

.PHONY: test
test: $(STAMP) ## Run every test; what needs a component that is missing is skipped and says so
	$(BIN)/pytest

.PHONY: test-fast
test-fast: $(STAMP) ## Run the tests that start no server
	$(BIN)/pytest $(FAST_TESTS)

.PHONY: test-integration
test-integration: $(STAMP) ## Run the tests that start servers
	$(BIN)/pytest $(SERVER_TESTS)

SEEDS ?= 10000

.PHONY: simulate
simulate: $(STAMP) ## Run simulated worlds with faults of every kind, SEEDS=10000 of them
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS)

.PHONY: fault
fault: $(STAMP) ## Run the fault tests in their long form
	FOREBAY_FAULT_SCALE=10 $(BIN)/pytest tests/fault --timeout 1800

.PHONY: soak
soak: $(STAMP) ## Load and kill for MINUTES (default 10), and look for what was lost, doubled or grew
	$(BIN)/python -m tests.fault.soak --minutes $(or $(MINUTES),10)

.PHONY: bench
bench: bench-tasks bench-llm bench-kserve bench-direct bench-embeddings bench-embed bench-idle bench-start ## Run what is measured of the platform; the targets below measure single parts

.PHONY: bench-tasks
bench-tasks: ## Measure durable tasks a second, with Celery beside it
	@$(MAKE) --no-print-directory setup EXTRAS='$(EXTRAS),bench'
	$(BIN)/python -m benchmarks.bench_tasks

.PHONY: bench-llm
bench-llm: ## Measure decoded tokens a second: the bare engine and the whole platform
	@$(MAKE) --no-print-directory setup EXTRAS='$(EXTRAS),bench'
	$(BIN)/python -m benchmarks.bench_llm_bare
	$(BIN)/python -m benchmarks.bench_llm

.PHONY: bench-llm-peers
bench-llm-peers: $(STAMP) ## Measure the bare engine against llama.cpp and onnxruntime-genai, by turns
	$(BIN)/python -m benchmarks.bench_llm_peers

.PHONY: bench-llm-curve
bench-llm-curve: $(STAMP) ## Measure latency against throughput, and draw docs/figures/generation_curve.svg
	$(BIN)/python -m benchmarks.bench_llm_curve --figure docs/figures/generation_curve.svg

.PHONY: bench-scheduling
bench-scheduling: $(STAMP) ## Run the scheduling policies in the simulator, and print a table for each
	$(BIN)/python -m benchmarks.scheduling

.PHONY: bench-shares
bench-shares: $(STAMP) ## Measure what levels get of a running system, beside the simulator
	$(BIN)/python -m benchmarks.bench_shares

.PHONY: bench-eta
bench-eta: $(STAMP) ## Measure how well starts are foretold
	$(BIN)/python -m benchmarks.bench_eta

.PHONY: bench-explain
bench-explain: $(STAMP) ## Measure ExplainTask in a backlog of a million tasks
	$(BIN)/python -m benchmarks.bench_explain

.PHONY: bench-overload
bench-overload: $(STAMP) ## Measure refusals at ten times the capacity
	$(BIN)/python -m benchmarks.bench_overload

.PHONY: bench-kserve
bench-kserve: $(STAMP) ## Measure requests over KServe v2, with MLServer and PyTriton beside it
	$(BIN)/python -m benchmarks.bench_kserve

.PHONY: bench-direct
bench-direct: $(STAMP) ## Measure what a call of a waiting client costs the gateway and its runner
	$(BIN)/python -m benchmarks.bench_gateway_direct
	$(BIN)/python -m benchmarks.bench_runner_direct

.PHONY: bench-embeddings
bench-embeddings: $(STAMP) ## Measure the bare embedding engine against ONNX Runtime with padded batches
	$(BIN)/python -m benchmarks.bench_embeddings

.PHONY: bench-embed
bench-embed: $(STAMP) ## Measure embeddings through the whole platform, with ONNX Runtime in one process beside it
	$(BIN)/python -m benchmarks.bench_embed

.PHONY: bench-cache
bench-cache: ## Measure the result cache: keys, look-ups, hits beside an empty call, misses, and what it saves
	@$(MAKE) --no-print-directory setup EXTRAS='$(EXTRAS),bench'
	$(BIN)/python -m benchmarks.bench_cache_key
	$(BIN)/python -m benchmarks.bench_cache_tiers
	$(BIN)/python -m benchmarks.bench_cache
	$(BIN)/python -m benchmarks.bench_cache_zipf
	$(BIN)/python -m benchmarks.bench_cache_miss

.PHONY: bench-cache-restart
bench-cache-restart: $(STAMP) ## Measure how a cold tier of MIB (default 1024) comes back after a restart
	$(BIN)/python -m benchmarks.bench_cache_restart --mib $(or $(MIB),1024)

.PHONY: bench-idle
bench-idle: $(STAMP) ## Measure what the platform costs while nothing happens
	$(BIN)/python -m benchmarks.bench_idle

.PHONY: bench-start
bench-start: $(STAMP) ## Measure the time from git clone to the first streamed token
	$(BIN)/python -m benchmarks.bench_start

# --- the house rules -------------------------------------------------------------------------------------------------

.PHONY: check
check: lint type lint-protos ## Check formatting, lint, types, import rules and contracts: what CI checks

.PHONY: fmt
fmt: $(STAMP) ## Format the code and the contracts
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BUF) format --write protos

.PHONY: lint
lint: $(STAMP) ## Check formatting, lint and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo

.PHONY: type
type: $(STAMP) ## Check types
	$(BIN)/mypy $(PACKAGES)

.PHONY: lint-protos
lint-protos: $(STAMP) ## Check the contracts: style, formatting, compatibility, and that protos/gen is what they generate
	$(BUF) lint
	$(BUF) format --diff --exit-code protos
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/breaking.sh
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/drift.sh

.PHONY: proto
proto: $(STAMP) ## Generate protos/gen from the contracts
	$(BUF) generate
