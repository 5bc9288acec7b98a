# Every target makes its own environment in .venv; nothing else need be installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := python -m pip install --quiet --disable-pip-version-check
PIP := $(BIN)/$(INSTALL)
# As variables, for the environments too in which pip builds a wheel.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt

.PHONY: demo test test-all coverage fuzz-answers fuzz-files lint hooks docs bench bench-baseline bench-quick bench-gpu dist wheel-check release-check clean

demo: $(VENV)/.ready
	$(BIN)/unconv demo --output demo.png

# Two processes, each with one half of the files, so that what tests of a file share is made once;
# who is done first takes from the other.  Compiled code is kept whatever the environment says: for
# the dozens of processes that tests start, and for the next run.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

test: $(VENV)/.peers-tried
	$(PYTEST)

test-all: $(VENV)/.peers-tried
	HYPOTHESIS_PROFILE=free $(PYTEST) -m "slow or not slow"

coverage: $(VENV)/.peers-tried
	$(PYTEST) --cov --cov-report=term

# Random operators of every kind against a 190-digit oracle; failures go to fuzz-failures.jsonl.
MINUTES ?= 10
SEED ?= 0
fuzz-answers: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(MINUTES) --seed $(SEED)

# Damaged files of every format, read as another reader reads them or refused.
MUTANTS ?= 5000
fuzz-files: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutants --mutants $(MUTANTS) --seed $(SEED)

PYTHON_CODE := src tests benchmarks examples docs/gallery .ci
lint: $(VENV)/.ready
	$(BIN)/ruff check $(PYTHON_CODE)
	$(BIN)/ruff format --check $(PYTHON_CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

# What `make lint` runs, before every commit.
hooks: $(VENV)/.ready
	$(BIN)/pre-commit install

docs: $(VENV)/.docs-ready
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# Beside an earlier run, if one is kept there, which `make bench-baseline` renews.
BASELINE := benchmarks/baseline.json
bench: $(VENV)/.rivals-tried
	$(BIN)/python -m benchmarks --json bench.json $(if $(wildcard $(BASELINE)),--against $(BASELINE))

bench-baseline: $(VENV)/.rivals-tried
	-$(BIN)/python -m benchmarks --json $(BASELINE)
	$(BIN)/python -m benchmarks.plots $(BASELINE) docs/growth.png

bench-quick: $(VENV)/.ready
	$(BIN)/python -m benchmarks --quick

# The same answers on a GPU, and its times; without one it says so.
bench-gpu: $(VENV)/.ready
	$(BIN)/python -m benchmarks.gpu

dist: $(VENV)/.release-ready
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

# The wheel as a stranger has it: alone in a fresh environment, without extras.
TRIAL := build/wheel-check
wheel-check: dist
	rm -rf $(TRIAL)
	$(PYTHON) -m venv $(TRIAL)
	$(TRIAL)/bin/$(INSTALL) $(TORCH_PIP) torch
	$(TRIAL)/bin/$(INSTALL) dist/*.whl
	$(TRIAL)/bin/python -I -W error .ci/try_wheel.py

release-check: $(VENV)/.ready
	$(BIN)/python .ci/release_check.py

# torch comes first and alone: `make TORCH_PIP="--index-url URL" demo` chooses its build, and where
# pip's sources hold a CPU wheel it is taken; the default wheel for Linux brings CUDA with it.
TORCH_PIP ?=
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit('unconv needs Python 3.11 or newer; use make PYTHON=python3.11' if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_PIP) torch
	$(PIP) -e ".[dev]"
	touch $@

# The packages that the adapters are for, and the optics; where they cannot be had their tests are
# skipped.  deepinv asks for torchvision, which would replace torch's build: it does without.
$(VENV)/.peers-tried: $(VENV)/.ready
	-$(PIP) pylops einops h5py natsort requests tqdm torchmetrics && $(PIP) --no-deps deepinv
	-$(PIP) psf-generator
	touch $@

# What the benchmarks compare with and no test asks for, one by one: those that cannot be had (the
# last two are built where SuiteSparse and its headers are) are named as not installed.
$(VENV)/.rivals-tried: $(VENV)/.peers-tried
	-$(PIP) photutils
	-$(PIP) --no-deps redlionfish
	-$(PIP) pyproximal
	-$(PIP) pypardiso
	-$(PIP) scikit-sparse
	-$(PIP) sparseqr
	touch $@

$(VENV)/.docs-ready: $(VENV)/.ready
	$(PIP) -e ".[docs]"
	touch $@

$(VENV)/.release-ready: $(VENV)/.ready
	$(PIP) -e ".[release]"
	touch $@

clean:
	rm -rf $(VENV) build dist docs/_build docs/auto_gallery
