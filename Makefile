# One thread a process: work is spread over processes, and results do not depend on the machine.
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

PYTHON ?= python3
BIN := .venv/bin

.PHONY: venv demo test lint docs speed clean

venv: .venv/installed

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --progress-bar off --editable '.[all,dev,docs]'
	touch $@

demo: venv  ## the benchmark, on embedded data
	$(BIN)/owo bench quickstart

test: docs  ## the whole test suite, and every notebook from top to bottom
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest --nbmake -n 2 notebooks

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: venv  ## the site, into build/docs; warnings are errors, links within it are checked
	$(BIN)/python -m sphinx -c docs -b html -W --keep-going -q -j auto -d build/doctrees . build/docs

speed: venv  ## ratios of speed, measured side by side
	$(BIN)/python -m pytest speed -m benchmark

clean:
	rm -rf .venv build dist results .pytest_cache .mypy_cache .ruff_cache
