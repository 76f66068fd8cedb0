# `make demo` and `make test` need Python 3.11 or newer, pip and make; they set up .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.base
READY := $(VENV)/.ready
EXTRAS := xtb,pyscf,nmr,phonons,soap,gap,sgdml,graph,slurm,docs,dev
# in constraints.txt as well, but not installed: long to compile, or many packages
FURTHER := umap,dvc

.PHONY: demo test test-slow lint docs lock clean

# Stamps are written last: a set-up that was cut off is started over.
$(BASE): pyproject.toml constraints.txt
	rm -f $(BASE) $(READY)
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $(BASE)

# torch comes first, on its own: resolved with the others it would be the newest, with gigabytes for graphics cards.
$(READY): $(BASE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	touch $(READY)

demo: $(BASE)
	$(BIN)/python examples/hv-diamond/demo.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# The documentation site, build/site/index.html: opens from the disk and needs no network, as does the build.
docs: $(READY)
	$(BIN)/python -m mkdocs build --strict

# Resolve constraints.txt anew from the ranges in pyproject.toml.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet torch==2.13.0
	build/lock/bin/python -m pip install --quiet ".[$(EXTRAS),$(FURTHER)]"
	build/lock/bin/python -m pip freeze --exclude forcewright | sed 's/+cpu//' > constraints.txt

clean:
	rm -rf $(VENV) build runs
