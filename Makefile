# make demo: set up and run the main job. make test: set up and check everything. make bench: timings.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test bench lint types tests docs clean

demo: .venv/ready
	$(BIN)/ocgan demo --out demo

test: lint types tests

bench: .venv/ready
	$(BIN)/python -m benchmarks.bench $(BENCH)

lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/ready
	$(BIN)/mypy

# One thread a worker: OpenMP's threads wait for each other where there are more than cores.
tests: .venv/extras
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup

docs: .venv/ready
	$(BIN)/python docs/write_commands.py
	$(BIN)/python docs/write_python.py

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) --editable '.[dev]'
	touch $@

# What the benchmark can use beside: only the tests need it.
.venv/extras: .venv/ready
	$(PIP) --editable '.[ray,pyod]'
	touch $@

clean:
	rm -rf .venv demo runs
