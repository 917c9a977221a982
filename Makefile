# Two commands: `make demo` and `make test`. Both make .venv and install what is pinned in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One process for each processor, so that each computes with one thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist worksteal

.PHONY: help install demo test test-all notebooks lint format tables docs bench qgis clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(INSTALLED) ## make .venv and install coslide with its development tools

# torch first: asked for by another package, it would come with gigabytes of GPU libraries.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED) ## the whole chain on a small simulated earthquake
	$(BIN)/coslide demo

lint: $(INSTALLED) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## style, types, tests and doctests (minutes)
	$(BIN)/python -m pip check --disable-pip-version-check
	$(PYTEST) -m 'not slow'

test-all: lint ## also the slow tests
	$(PYTEST)

notebooks: $(INSTALLED) ## run the notebooks from top to bottom (minutes)
	$(PYTEST) -m slow tests/test_notebooks.py

format: $(INSTALLED) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tables: $(INSTALLED) ## refresh the tables of docs/ that are written from the code
	$(BIN)/python docs/keys.py

qgis: ## the plugin of QGIS as a ZIP file that its plugin manager installs, in dist/
	$(PYTHON) tools/pack_qgis.py

docs: $(INSTALLED) ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo build/site/index.html

bench: $(INSTALLED) ## benchmarks, on an idle machine
	$(BIN)/python benchmarks/cube.py
	$(BIN)/python benchmarks/iburi.py
	$(BIN)/python benchmarks/simulated.py time 12
	$(BIN)/python benchmarks/simulated.py scores

clean: ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
