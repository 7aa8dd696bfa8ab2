# make setup | test | demo | bench NAME=few-shot-omniglot [QUICK=1] [DATA=SPEC] | clean
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
WORKERS ?= 2

export OMP_NUM_THREADS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup test lint types unit demo bench clean

help:
	@sed -n '1s/^# //p' Makefile

# One stamp for each set of extras: a repeated make installs nothing until pyproject.toml changes.
setup: $(VENV)/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable .
	@touch $@
	@echo "Limner is installed: try $(BIN)/limner --help"

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable ".[$*]"
	@touch $@

test: lint types unit

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test
	$(BIN)/mypy

unit: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(WORKERS)

demo: setup
	$(BIN)/limner demo --out limner-demo --force

# The extra that a benchmark's peers need.
PEERS_OF_meta-speed := bench-meta
PEERS_OF_training-speed := bench-generate
PEERS_OF_memory-scale := postgres
PEERS_OF_experience-parallel := ray

bench: $(VENV)/.installed-peers $(PEERS_OF_$(NAME):%=$(VENV)/.installed-%)
	$(BIN)/python benchmarks/run.py $(NAME) $(if $(QUICK),--quick) $(if $(DATA),--data "$(DATA)")

$(VENV)/.installed-bench-meta: pyproject.toml tools/install_learn2learn.sh | $(BIN)/python
	$(BIN)/pip install --quiet --editable ".[bench-meta]"
	tools/install_learn2learn.sh $(BIN)/python
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache limner-demo
