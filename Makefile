# Everything runs in .venv, which `make install` makes. The same commands run in CI (.ci/run).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
WORKERS ?= 3
TORCH := .venv-torch
TORCH_VERSION ?= 2.13.0
MIGRATIONS := shared/zeroflow/metadata/migrations/versions
unexport PYTHONDONTWRITEBYTECODE # where it is set, each of the processes that tests start would compile its modules again

.PHONY: help install demo test torch scale soak check format bench clean
help: ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

install: $(STAMP) ## make .venv with all that the targets below need

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "zeroflow needs Python 3.11 or newer; there is no '$(PYTHON)' here (make PYTHON=/path/to/python3.11)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "zeroflow needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1) (make PYTHON=/path/to/python3.11)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@$(BIN)/python -m compileall -q shared functions knative  # the first processes of a new checkout start as fast as the later ones
	@touch $@

demo: $(STAMP) ## the whole lifecycle on a year of real flights (ARGS=--short: the first part)
	$(BIN)/python -W ignore::FutureWarning examples/flights/demo.py $(ARGS)

test: $(STAMP) ## all tests, a file at a time side by side (WORKERS=0: one after another)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

torch: ## tests of models and searches with torch and transformers, in .venv-torch (gigabytes where pip finds no CPU build)
	@test -x $(TORCH)/bin/python || $(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,huggingface]' 'torch==$(TORCH_VERSION)'
	$(TORCH)/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile tests/models tests/predictor tests/tuning/test_searches.py $(ARGS)

scale: $(STAMP) ## what takes longer: figures at scale, every official pipeline (with ZEROFLOW_CONTRACTS)
	ZEROFLOW_ALL_PIPELINES=1 $(BIN)/python -m pytest -s -m scale $(ARGS)
	ZEROFLOW_ALL_PIPELINES=1 $(BIN)/python -m pytest tests/pipelines/test_official_pipelines.py

soak: $(STAMP) ## mixed load while functions and the host are killed (ARGS="--minutes 30")
	$(BIN)/python -m benchmarks.soak $(ARGS)

check: $(STAMP) ## formatting, lint, types, layers
	@twice=$$(ls $(MIGRATIONS) | grep -oE '^[0-9]+_' | sort | uniq -d); \
	  test -z "$$twice" || { echo "two migrations in $(MIGRATIONS) are numbered $$twice: give the later one the next number" >&2; exit 1; }
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## write the formatting
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## what is claimed about speed, beside a peer
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove what was made here
	rm -rf $(VENV) $(TORCH) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
