# Forge Observability. `make help` lists what there is; README.md explains it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Everything that is slow to get is cached here by version, outside the clone.
export FORGE_CACHE_DIR ?= $(HOME)/.cache/forge-observability
UV_VERSION := 0.13.9
UV := $(FORGE_CACHE_DIR)/uv-$(UV_VERSION)/bin/uv
BIN := .venv/bin
CLUSTER := python3 tests/cluster/cluster.py
ROOMS := api/forge_api cli/forge_observability crds/forge_stack dbt/forge_transform demo/forge_demo operator/forge_operator pipelines/forge_pipelines store/forge_store

export DO_NOT_TRACK := 1

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(UV):
	@echo "installing uv $(UV_VERSION)"
	@python3 -m venv $(FORGE_CACHE_DIR)/uv-$(UV_VERSION)
	@$(FORGE_CACHE_DIR)/uv-$(UV_VERSION)/bin/pip install --quiet uv==$(UV_VERSION)

.venv/.synced: uv.lock pyproject.toml $(wildcard */pyproject.toml) | $(UV)
	@echo "installing the Python packages of uv.lock"
	@$(UV) sync --quiet --frozen --all-packages
	@touch $@

.PHONY: install
install: .venv/.synced ## Install the Python packages into .venv

## Run it

.PHONY: demo
demo: install ## The simulated organisation, one stack on this machine, the page (ONCE=1: end after the summary)
	@PATH="$(CURDIR)/$(BIN):$$PATH" demo/run.sh $(if $(ONCE),--once)

.PHONY: cluster
cluster: ## A real Kubernetes: kind where Docker answers, else one built from Go modules
	@$(CLUSTER) up

.PHONY: images
images: ## Build the container images (NAMES="api store" for some)
	@python3 images/build.py $(NAMES)

.PHONY: up
up: install cluster ## A cluster with images, chart, the simulated organisation and a sample stack
	@python3 images/build.py --load
	@$(BIN)/python tests/cluster/sample.py up

.PHONY: down
down: ## End that cluster
	@$(CLUSTER) down

## Check it

.PHONY: test
test: install cluster ## All tests, real cluster included
	@tests/packages.sh
	@python3 images/build.py --load
	@PATH="$(CURDIR)/$(BIN):$$PATH" pytest -n 2 --dist loadfile -m "not cluster" tests
	@PATH="$(CURDIR)/$(BIN):$$PATH" KUBECONFIG=$$($(CLUSTER) kubeconfig) pytest -m cluster tests

.PHONY: test-fast
test-fast: install ## The tests that need no cluster and no time
	@PATH="$(CURDIR)/$(BIN):$$PATH" pytest -n 2 --dist loadfile -m "not cluster and not slow" tests/unit tests/contract

.PHONY: check
check: install ## Every linter
	@tests/lint.sh

.PHONY: fmt
fmt: install ## Format the code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

.PHONY: generate
generate: install ## Make the generated files anew: the CRD, the chart's copy of it, the reference, the chart's page
	@$(BIN)/forge-crd
	@$$($(CLUSTER) tools helm-docs)/helm-docs --chart-search-root charts --sort-values-order file --log-level warning
	@$(BIN)/python -m forge_transform.reference

.PHONY: bundle
bundle: install ## The bundle for the Operator Lifecycle Manager, from the chart: dist/bundle
	@$(BIN)/python charts/olm/bundle.py dist/bundle

.PHONY: docs
docs: install ## The models as one page with their lineage: dbt/target/static_index.html
	@cd dbt && DBT="../$(BIN)/dbt --quiet" && $$DBT parse && $$DBT docs generate --static --empty-catalog --no-compile

.PHONY: bench
bench: install ## The benchmarks: a table and bench/results/latest.json (ONLY=prefix for some)
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

.PHONY: clean
clean: ## Remove what this clone built; the cache outside stays
	@rm -rf .venv .forge .pytest_cache .mypy_cache .ruff_cache dbt/target dbt/logs
