# Everything a user or a developer runs. `make` alone lists the targets.
#
#   PYTHON=python3.12 make test           another interpreter (3.10 or newer); default python3
#   VENV=/tmp/venv make test              another place for the virtual environment; default .venv
#   MEDKERNELS_CUDA=OFF make test         AUTO (default): CUDA code is built when nvcc is found; ON; OFF
#   make bench ARGS="ellipses --peers"    ARGS go to the command that the target runs

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
CXX ?= g++
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALL := $(PIP) install --quiet --constraint constraints.txt
CPP_SOURCES := $(shell find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')

.PHONY: help demo build test lint format types docs wheel sanitize gpu bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.build $(VENV)/.demo ## build, then the demonstration on real tissue: demo/asr/report.html
	$(BIN)/medkernels demo $(ARGS)

build: $(VENV)/.build $(VENV)/.all ## the virtual environment with everything in it, and an editable build

test: build ## build, then all tests
	$(BIN)/python -m pytest $(ARGS)

lint: build ## ruff and clang-format, nothing changed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CPP_SOURCES)

format: build ## ruff and clang-format, in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP_SOURCES)

types: build ## mypy --strict on the package
	$(BIN)/mypy

docs: build ## the documentation, in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site
	echo "site/index.html"

wheel: build ## a repaired wheel in wheelhouse/, tried in fresh environments: NumPy alone, then with torch
	$(BIN)/python .ci/wheel.py

sanitize: build ## the C++ tests once more under AddressSanitizer and UndefinedBehaviorSanitizer
	.ci/sanitize $(BIN)/python $(ARGS)

gpu: ## on a machine with an NVIDIA GPU: build in place, GPU tests, compute-sanitizer, benchmarks
	$(PYTHON) benchmarks/gpu.py $(ARGS)

bench: build ## ours beside the peer libraries; ARGS="ellipses --peers"
	$(BIN)/medkernels bench $(ARGS)

clean: ## remove what was built; the virtual environment and your runs stay
	rm -rf build dist wheelhouse site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# The editable build. Python files are used where they stand; CMake and ninja rebuild what changed of the rest.
$(VENV)/.build: CMakeLists.txt pyproject.toml $(CPP_SOURCES) | $(VENV)/.tools
	@echo "medkernels: building"
	$(INSTALL) --no-build-isolation --no-deps --editable .
	touch $@

# setuptools: some dependencies are published as source only, and are built without an isolated environment too.
$(VENV)/.tools: constraints.txt | $(BIN)/pip
	@echo "medkernels: installing the build tools in $(VENV)"
	$(INSTALL) cmake ninja pybind11 scikit-build-core setuptools
	touch $@

# What the demonstration needs, and what everything else needs.
$(VENV)/.demo: EXTRA := zoo
$(VENV)/.all: EXTRA := all
$(VENV)/.demo $(VENV)/.all: pyproject.toml constraints.txt | $(VENV)/.build
	@echo "medkernels: installing the dependencies ($(EXTRA)) in $(VENV)"
	$(INSTALL) --no-build-isolation --editable '.[$(EXTRA)]'
	touch $@

# One line says what to install when the machine lacks something that pip cannot bring.
$(BIN)/pip:
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
	  echo "medkernels needs Python 3.10 or newer ($(PYTHON) is not): apt-get install python3 python3-venv python3-dev" >&2
	  exit 1
	fi
	missing=
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing+=" python3-venv"
	test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || missing+=" python3-dev"
	command -v $(CXX) >/dev/null || missing+=" g++"
	if [ -n "$$missing" ]; then
	  echo "medkernels cannot be built here yet: apt-get install$$missing" >&2
	  exit 1
	fi
	$(PYTHON) -m venv $(VENV)
