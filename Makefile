# Every target sets up what it needs: a virtual environment with the pinned versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The peers' requirements do not fit the other extras, so they have an environment of their own.
BENCH ?= .venv-bench
STAMP := $(VENV)/.installed

.PHONY: demo test suite lint docs wheel bench lock clean

demo: $(STAMP)  ## train four kinds of 20-layer networks on digits and report
	$(BIN)/nonsingular demo

test: $(STAMP)  ## lint, types and the whole test suite, side by side
	$(MAKE) --jobs 2 lint suite

suite: $(STAMP)  # one thread a process
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)-docs  ## the documentation site, lessons executed, looked at in a browser
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build/html
	NONSINGULAR_SITE=docs/_build/html $(BIN)/pytest tests/docs/test_built_site.py

wheel: $(STAMP)  ## build wheel and sdist, and try the wheel in an environment of its own
	rm -rf dist .venv-wheel
	$(BIN)/python -m hatchling build
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/pip install --quiet --constraint constraints.txt dist/*.whl
	cd dist && ../.venv-wheel/bin/nonsingular reproduce orhan2018/fig1 --scale smoke --out ../.venv-wheel/tried
	rm -rf .venv-wheel

bench: $(BENCH)/.installed  ## speeds as ratios, against the peers: that all of it works, then half an hour of measuring
	$(BENCH)/bin/pytest benchmarks
	$(BENCH)/bin/pytest benchmarks --full -s

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nonsingular needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing the packages, PyTorch among them, into $(VENV): some minutes, once"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(STAMP)-docs: $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

$(BENCH)/.installed: pyproject.toml benchmarks/constraints.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --constraint benchmarks/constraints.txt --editable '.[bench]'
	touch $@

lock:  ## pin what the environments hold now
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt
	if [ -d $(BENCH) ]; then \
	  $(BENCH)/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' > benchmarks/constraints.txt; fi

clean:
	rm -rf $(VENV) $(BENCH) out docs/_build
