# Two commands do everything: `make demo` and `make test`.  Both set up the virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A worker per core; a file stays on one, and files come in the order of tests/conftest.py: those that take long first.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# Tiny models on few cores: passive waiting keeps two OpenMP threads from fighting over them; nothing needs the hub.
export OMP_WAIT_POLICY ?= PASSIVE
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

# What `make real` trains on: a source of conversations, as settings of mora.train.  Another: make real DATA="dataset=jsonl dataset.path=..."
DATA ?= dataset=alpaca

.PHONY: demo real test truth check install format clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m mora.train

real: export HF_HUB_OFFLINE = 0
real: models/smollm2
	$(BIN)/python -m mora.train experiment=smollm2 model.path=models/smollm2 preference.vertex_probability=0.5 $(DATA)

models/smollm2: | $(STAMP)
	$(BIN)/python -m mora.prepare task=smollm2 output=$@

test: $(STAMP)
	$(PYTEST) -m "not truth"

truth: $(STAMP)
	$(PYTEST) -m truth

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python -m mora.config snapshot --check
	$(BIN)/shellcheck .ci/run

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
