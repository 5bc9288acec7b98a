# Every target makes its own environment in .venv; nothing else need be installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all fuzz-answers lint docs bench clean

demo: $(VENV)/.ready
	$(BIN)/unconv demo --output demo.png

test: $(VENV)/.peers-tried
	$(BIN)/python -m pytest -n 2

test-all: $(VENV)/.peers-tried
	HYPOTHESIS_PROFILE=free $(BIN)/python -m pytest -n 2 -m "slow or not slow"

# Random operators of every kind against a 190-digit oracle; failures go to fuzz-failures.jsonl.
MINUTES ?= 10
SEED ?= 0
fuzz-answers: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --minutes $(MINUTES) --seed $(SEED)

lint: $(VENV)/.ready
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs-ready
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks

# torch comes first and alone: `make TORCH_PIP="--index-url URL" demo` chooses its build, and where
# pip's sources hold a CPU wheel it is taken; the default wheel for Linux brings CUDA with it.
TORCH_PIP ?=
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit('unconv needs Python 3.11 or newer; use make PYTHON=python3.11' if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_PIP) torch
	$(PIP) -e ".[dev]"
	touch $@

# The packages that the adapters are for; where they cannot be had their tests are skipped.  deepinv
# asks for torchvision, which would replace torch's build: it does without.
$(VENV)/.peers-tried: $(VENV)/.ready
	-$(PIP) pylops einops h5py natsort requests tqdm torchmetrics && $(PIP) --no-deps deepinv
	touch $@

$(VENV)/.docs-ready: $(VENV)/.ready
	$(PIP) -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) docs/_build
