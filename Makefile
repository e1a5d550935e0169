# Two commands do everything on a fresh machine:  make demo  (the main job)  and  make test  (all tests).
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test parity lint docs site bench transfer clean

demo: $(VENV)/.installed
	$(BIN)/minicnn finetune --out runs/demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist worksteal $(OPTIONS)

parity: $(VENV)/.installed-parity
	$(BIN)/python -m pytest -n 2 --dist worksteal tests/parity

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

site: $(VENV)/.installed-tutorials  # the documentation, with all that the tutorials print and draw
	$(BIN)/python tutorials/build.py
	$(MAKE) --no-print-directory docs

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/table.py

transfer: $(VENV)/.installed
	$(BIN)/python benchmarks/transfer.py

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .benchmarks .hypothesis runs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@
