# make run    everything, from raw tables to registered models
# make test   the tests
# make check  formatting, lint, types, import contracts
# make bench-quality   the model beside every opponent on real databases; hours
# make bench  how fast, beside whom, at full size: minutes; the page is benchmarks/README.md
# make bench-gpu   the same of what a CUDA device is there for; ends at once where there is none
# make docs   the documentation as pages, in build/site
# make pictures   the pages of Dagster and MLflow in a real browser, as pictures in docs/pictures
# make ui     the Dagster and MLflow pages, on this machine only
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
export NEXUS_HOME ?= $(CURDIR)/.nexus
export DAGSTER_HOME ?= $(NEXUS_HOME)/dagster
export PYTHONPATH := $(CURDIR)
export DAGSTER_DISABLE_TELEMETRY = yes
export MLFLOW_DISABLE_TELEMETRY = true
export DO_NOT_TRACK = true
export GX_ANALYTICS_ENABLED = false
DAGSTER_PORT ?= 3000
MLFLOW_PORT ?= 5000

.PHONY: run test check bench bench-gpu bench-quality docs pictures ui install install-dev install-scale home clean

run: install home
	$(VENV)/bin/nexusflow train

# One worker a core, one thread a worker: whole files go to a worker, so fixtures are made once; in
# their order, so that the longest (the pages of documentation) does not come last.
test: install-dev home
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

check: install-dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: install-dev
	OMP_NUM_THREADS=2 $(PY) -m benchmarks.bench

bench-gpu: install-dev
	$(PY) -m benchmarks.gpu.bench

bench-quality: install-dev home
	$(PY) -m benchmarks.quality.run; code=$$?; $(PY) -m benchmarks.quality.report; exit $$code

docs: install-dev
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict

pictures: install-dev home
	$(PY) -m tests.browser_pages

ui: install home
	$(VENV)/bin/nexusflow ui --dagster-port $(DAGSTER_PORT) --mlflow-port $(MLFLOW_PORT)

install: $(STAMP)
install-dev: $(DEV_STAMP)

# Spark and Ray, for the tests of what goes beyond one machine; without them those are skipped.
install-scale: install-dev
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[scale]"

$(VENV)/bin/python:
	python3.11 -m venv $(VENV) || python3 -m venv $(VENV)

# torch first: its pin decides which build the others are resolved against.
$(STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(DEV_STAMP): $(STAMP)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

home:
	mkdir -p $(DAGSTER_HOME)
	cp dagster.yaml $(DAGSTER_HOME)/dagster.yaml

clean:
	rm -rf $(NEXUS_HOME) data/validated data/aligned data/tokenized data/trained data/optimized \
	  data/evaluated data/served data/records data/raw/*.duckdb
