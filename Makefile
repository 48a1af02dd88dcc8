# Every target sets itself up on a fresh machine: Python 3.11 to 3.13 and make are all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUTPUT ?= out
ARGS ?=
# Two packages name what they offer, and pdoc then asks for their modules by name; TensorFlow beside PyTorch would abort.
NAMED := $(filter-out %/__init__ %/__main__,$(basename $(wildcard core_torch/*.py core_torch/parity/*.py))) \
    $(patsubst %/__init__.py,%,$(wildcard core_torch/*/__init__.py core_torch/parity/*/__init__.py))
DOCUMENTED := core_torch lightning_impl keras_impl benchmarks $(subst /,.,$(NAMED)) '!benchmarks.loaders.tensorflow'

.PHONY: setup docs bench bench-full reproduce-quick reproduce test test-slow stress lint types check check-all clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all,test]"
	touch $(READY)

bench: $(READY)  ## the main job on the embedded digits: agreement, then timing
	$(BIN)/python -m benchmarks run --suite quick --output $(OUTPUT) $(ARGS)

bench-full: $(READY)  ## every loader, batch size and model; an hour and a half on 2 cores
	$(BIN)/python -m benchmarks run --suite full --output $(OUTPUT) $(ARGS)

reproduce-quick: $(READY)  ## published tables on MNIST, the cheap rows with one seed; 12 minutes on 2 cores
	$(BIN)/python -m benchmarks reproduce --output $(OUTPUT) $(ARGS)

reproduce: $(READY)  ## every row with every seed, about ten hours of one core; goes on where it was stopped
	$(BIN)/python -m benchmarks reproduce --full --output $(OUTPUT) $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadgroup $(ARGS)

test-slow: $(READY)  ## what trains published rows again and runs every command of the README; half an hour
	$(BIN)/python -m pytest -m slow $(ARGS)

stress: $(READY)  ## damage, faults, kills and attacks by the thousand, in one table; about an hour
	$(BIN)/python -m pytest -n auto -m stress tests/reliability $(ARGS)

docs: $(READY)  ## the API reference and the guides, as pages under $(OUTPUT)/docs
	KERAS_BACKEND=torch $(BIN)/python -m pdoc -o $(OUTPUT)/docs $(DOCUMENTED)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

check: lint types test

check-all: check test-slow

clean:
	rm -rf $(VENV) $(OUTPUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis
