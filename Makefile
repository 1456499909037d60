# `make help` lists the targets. The environment is made twice-locked: torch by its pinned version from wherever pip
# looks (a CPU or a CUDA build), everything else by hash from the lock of this Python.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check lint format bench bench-quality bench-logs bench-feedback bench-incidents bench-api bench-stream bench-backfill chaos lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
DATA ?= ../shared/data
LOCK_VENV := build/lock-venv
# Every process of the tests would compile what it imports anew.
unexport PYTHONDONTWRITEBYTECODE
# On two cores, two of four mostly wait for Kafka (tests/lanes.py).
TEST_WORKERS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 2 ? 3 : 4)))
# An environment that exists decides which Python's lock counts, not what python3 happens to be today.
TAG := $(shell $(or $(wildcard $(BIN)/python),$(PYTHON)) -c 'import sys; print("py%d%d" % sys.version_info[:2])')
TORCH := $(shell sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
# What xgboost declares for work on several GPUs; nothing here uses it.
OPTIONAL := nvidia-nccl-cu1[0-9]

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(STAMP) ## Make .venv with the locked dependencies (again only when they change)

demo: $(STAMP) ## Watch bundled telemetry and logs, print explained alerts
	$(BIN)/tsad demo

test: $(STAMP) build/.chromium build/.metrics ## Run the test suite
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

check: $(STAMP) lint ## Run all static checks: ruff, mypy --strict, import-linter
	$(BIN)/mypy
	$(BIN)/lint-imports

lint: $(STAMP) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## Rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH_STAMP) ## Measure the pipeline, into benchmarks/out/pipeline.json
	$(BIN)/python benchmarks/pipeline.py

# SETS, PARTS, PROFILES, SCOPES, LIMIT and WORKERS say how much of it, for instance SETS="smd asd" PARTS=quality LIMIT=2.
bench-quality: $(BENCH_STAMP) ## Measure detection beside its peers on DATA, into docs/quality.md
	$(BIN)/python benchmarks/quality.py --data $(DATA) $(if $(SETS),--sets $(SETS)) $(if $(PARTS),--parts $(PARTS)) \
	  $(if $(PROFILES),--profiles $(PROFILES)) $(if $(SCOPES),--scopes $(SCOPES)) $(if $(LIMIT),--limit $(LIMIT)) \
	  $(if $(WORKERS),--workers $(WORKERS))

# WORLDS says how many made worlds of operations that look like faults; PROFILE which detectors look at them.
bench-logs: $(STAMP) ## Measure log mining, and one decision over metrics and logs, on DATA, into benchmarks/out/logs.json
	$(BIN)/python benchmarks/logs.py --data $(DATA) $(if $(WORLDS),--worlds $(WORLDS)) \
	  $(if $(PROFILE),--profile $(PROFILE))

bench-feedback: $(STAMP) ## Measure what one answer takes along on DATA, into benchmarks/out/feedback.json
	$(BIN)/python benchmarks/feedback.py --data $(DATA)

# PARTS says how much of it, for instance PARTS=severity.
bench-incidents: $(STAMP) ## Measure incidents on DATA (suspects, severity), into benchmarks/out/incidents.json
	$(BIN)/python benchmarks/incidents.py --data $(DATA) $(if $(PARTS),--parts $(PARTS)) \
	  $(if $(PROFILE),--profile $(PROFILE))

# API passes options, for instance API="--rows 10000 --seconds 10".
bench-api: $(STAMP) ## Measure the HTTP API over a million alerts in PostgreSQL, into benchmarks/out/api.json
	$(BIN)/python benchmarks/api.py $(API)

# STREAM passes options, for instance STREAM="--client confluent --profile fast"; KAFKA_HOME as for the tests.
bench-stream: $(STAMP) ## Measure a stream from a real broker into PostgreSQL, into benchmarks/out/stream.json
	$(BIN)/python benchmarks/stream.py $(STREAM)

# BACKFILL passes options, for instance BACKFILL="--rows 1000000 --profiles fast"; SHARED=1 judges the series of DATA in
# place of made ones, into benchmarks/out/backfill-shared/.
bench-backfill: $(STAMP) ## Measure runs over history by engine, into benchmarks/out/backfill.json
	$(BIN)/python $(if $(SHARED),benchmarks/backfill_shared.py --data $(DATA),benchmarks/backfill.py) $(BACKFILL)

# ROUNDS says how many, of ten kinds: up to 20 rounds have 17,000 records each, more 200,000, unless CHAOS says otherwise,
# for instance CHAOS="--full --first 17". KAFKA_HOME names the broker's programs, as for the tests.
chaos: $(STAMP) ## Kill, stop and scale workers on a real broker; compare every row
	$(BIN)/python benchmarks/chaos.py $(if $(ROUNDS),--rounds $(ROUNDS)) $(CHAOS)

lock: ## Write the locks of $(PYTHON) anew from pyproject.toml
	$(PYTHON) -m venv $(LOCK_VENV)
	$(LOCK_VENV)/bin/pip install --quiet pip-tools
	requirements/compile.sh $(LOCK_VENV)/bin/python

clean: ## Remove caches and build outputs (.venv and your data stay)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis benchmarks/out
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

$(STAMP): pyproject.toml requirements/$(TAG).txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/$(TAG).txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m detectors.compiled
	! $(BIN)/python -m pip check | grep -v -e 'requires $(OPTIONAL), which is not installed' -e '^No broken requirements'
	touch $@

$(BENCH_STAMP): $(STAMP) requirements/bench-$(TAG).txt
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/bench-$(TAG).txt
	touch $@

build/.chromium: tests/chromium.sh
	tests/chromium.sh
	mkdir -p build
	touch $@

build/.metrics: tests/metrics.sh
	mkdir -p build
	tests/metrics.sh
	touch $@

requirements/%.txt:
	@echo "There is no $@: Python 3.11, 3.12 and 3.13 are locked. Name one: make setup PYTHON=python3.12" >&2
	@exit 1
