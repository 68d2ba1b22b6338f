# Names one wheel index for torch and for torch only:  make demo TORCH_INDEX=...
# Names the interpreter:                               make demo PYTHON=python3.12
PYTHON ?= python3
TORCH_INDEX ?=
LOCK ?=
export PYTHON TORCH_INDEX LOCK

READY := .venv/.ready
RUN := .venv/bin/python -m
PYTEST := $(RUN) pytest
CHECKED := lora_qd tests setup cli.py $(wildcard benchmarks)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check format docs lock clean sandbox test-packages

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: $(READY) sandbox ## train three experts on the tiny model and evolve them
	.venv/bin/loraqd train-experts --config configs/tiny.yaml
	.venv/bin/loraqd evolve --config configs/tiny.yaml --run runs/demo --overwrite

test: $(READY) sandbox test-packages ## run the quick tests
	$(PYTEST)

test-slow: $(READY) sandbox test-packages ## run the slow ones and those of the page
	@setup/system-packages.sh engine
	@setup/system-packages.sh browser
	LORAQD_REQUIRE_BROWSER=1 $(PYTEST) \
		-m "(slow or browser) and not gpu and not network"

check: $(READY) ## format, lint, types, import layers, size limits
	$(RUN) ruff format --check $(CHECKED)
	$(RUN) ruff check $(CHECKED)
	$(RUN) mypy
	.venv/bin/lint-imports --no-logo
	$(PYTEST) --quiet tests/test_limits.py

format: $(READY) ## format and fix what ruff can fix
	$(RUN) ruff format $(CHECKED)
	$(RUN) ruff check --fix $(CHECKED)

docs: $(READY) ## write docs/cli.md and docs/config.md from the code
	.venv/bin/python setup/reference.py

lock: $(READY) ## resolve pyproject.toml into requirements/*.lock anew
	.venv/bin/python setup/lock.py

clean: ## delete .venv, caches and built files; runs/ stays
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf .import_linter_cache
	find lora_qd tests setup -name __pycache__ -type d -prune -exec rm -rf {} +

# make compares dates; the script compares contents and is done in a blink.
$(READY): pyproject.toml $(wildcard requirements/*.lock) $(wildcard setup/*.sh)
	@setup/install.sh

sandbox:
	@setup/system-packages.sh sandbox

test-packages:
	@setup/system-packages.sh tests
