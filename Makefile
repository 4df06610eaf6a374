# One thread a process: work is spread over processes, and results do not depend on the machine.
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

PYTHON ?= python3
BIN := .venv/bin

.PHONY: venv demo remote test lint docs speed package lowest compat clean

PYTHONS ?= 3.10 3.11 3.12 3.13 3.14

venv: .venv/installed

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --progress-bar off --editable '.[all,dev,docs]'
	touch $@

demo: venv  ## the benchmark, on embedded data
	$(BIN)/owo bench quickstart

remote: venv  ## a server and two users on this machine, for two rounds
	$(BIN)/python examples/remote_users.py

test: docs  ## the whole test suite, and every notebook from top to bottom
	$(BIN)/python -m pytest -n 2 --dist loadfile
	$(BIN)/python -m pytest --nbmake -n 2 notebooks

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: venv  ## the site, into build/docs; warnings are errors, links within it are checked
	$(BIN)/python -m sphinx -c docs -b html -W --keep-going -q -j auto -d build/doctrees . build/docs

speed: venv  ## ratios of speed, measured side by side
	$(BIN)/python -m pytest speed -m benchmark

package: venv  ## wheel and sdist, looked at and installed into an empty environment
	rm -rf build/dist && mkdir -p build
	$(BIN)/python -m build --outdir build/dist >build/build.log 2>&1 || (cat build/build.log; false)
	$(BIN)/twine check --strict build/dist/*
	$(BIN)/python -m pytest -m package tests/package

# All but torch, which is as here: a torch of its own would be half of the time.
lowest: venv  ## the fast tests of both packages with the lowest versions that the bounds allow
	mkdir -p build
	$(BIN)/python -m pip freeze | grep -E "^torch(vision)?==" >build/torch.txt
	UV_CONSTRAINT=build/torch.txt TESTS="$(TESTS)" .ci/compat lowest rl

compat: package  ## every interpreter that is found, lowest and newest versions, RL libraries
	for python in $(PYTHONS); do .ci/compat newest $$python || exit 1; done
	.ci/compat lowest
	.ci/compat lowest rl
	.ci/compat clients

clean:
	rm -rf .venv build dist results .pytest_cache .mypy_cache .ruff_cache
