# make help lists the targets. Each sets up what it needs in .venv and works offline once that is done.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
EXAMPLE := examples/complete_journey
EXAMPLE_DATA := $(EXAMPLE)/data
TEST_PROCESSES ?= 2
PORT ?= 3000

# Values of .env count where neither the environment nor the command line has them.
ifneq ($(wildcard .env),)
define from_dotenv
ifeq ($$(origin $(1)),undefined)
export $(1) := $(2)
endif
endef
$(foreach line,$(shell sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=\([^[:space:]]\{1,\}\)$$/\1=\2/p' .env),\
  $(eval $(call from_dotenv,$(firstword $(subst =, ,$(line))),$(patsubst $(firstword $(subst =, ,$(line)))=%,%,$(line)))))
endif

example: export CX_DATA_DIR := $(EXAMPLE_DATA)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: setup
setup: ## install everything into .venv, if it is not there already
	@scripts/setup.sh

.PHONY: example-data
example-data: setup
	@$(BIN)/python $(EXAMPLE)/lay_out.py $(EXAMPLE_DATA)

.PHONY: run
run: setup ## the nightly job on CX_DATA_DIR, or on the simulated company in data/ where that is not set
	@$(BIN)/cx run

.PHONY: example
example: example-data ## the nightly job on the Complete Journey, a real retailer, whatever CX_DATA_DIR says
	@$(BIN)/cx run

.PHONY: dev
dev: setup ## Dagster's UI on the same data, at localhost:3000 (PORT=...)
	@DAGSTER_HOME="$$($(BIN)/cx home)" $(BIN)/dagster dev --workspace workspace.yaml --port $(PORT)

.PHONY: test
test: setup ## the fast tests
	@$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile

.PHONY: test-slow
test-slow: setup ## the slow tests: Spark, browser, long ones
	@if command -v java >/dev/null; then scripts/setup.sh spark; \
	else echo "test-slow: no Java on this machine, so the Spark tests are skipped"; fi
	@$(BIN)/pytest -m slow -n $(TEST_PROCESSES) --dist loadfile

.PHONY: check
check: example-data ## format, lint, types, contracts, definitions, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	CX_DATA_DIR=data $(BIN)/cx validate
	CX_DATA_DIR=$(EXAMPLE_DATA) $(BIN)/cx validate
	CX_DATA_DIR=data $(BIN)/dg check defs --no-check-yaml
	$(BIN)/cx docs --check
	@if grep -nE '[a-z+]+://|--(extra-)?index-url|--find-links' requirements*.lock; then \
	  echo "check: lock files name no download addresses"; exit 1; fi

.PHONY: docs
docs: setup ## write docs/tables.md from the contracts
	@$(BIN)/cx docs

.PHONY: bench
bench: setup ## a benchmark: make bench NAME=...
	@$(BIN)/cx bench $(NAME)

# The versions already locked are kept where they still fit; UPGRADE=--upgrade takes the newest.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --custom-compile-command "make lock" $(UPGRADE)
.PHONY: lock
lock: setup ## resolve the dependencies of pyproject.toml anew (UPGRADE=--upgrade: to the newest)
	@$(LOCK) pyproject.toml --extra example --extra dev --output-file requirements.lock
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["spark"])' \
	  | $(LOCK) - --constraint requirements.lock --output-file requirements-spark.lock
	@scripts/setup.sh

.PHONY: clean
clean: ## remove .venv, caches and the example's data; a data directory of your own is not touched
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache $(EXAMPLE_DATA)
