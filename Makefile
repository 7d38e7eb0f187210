# `make run` and `make test` do everything, set-up included; they need Python 3.11, make and git.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# What is installed: what a run needs, and what tests, docs and images need beside it.
READY := $(VENV)/.ready
DEVELOP := $(VENV)/.develop
# Versions of a lock as they are, without resolving: by uv, or by pip where only that knows the machine's index. Torch
# comes by pip, from where that finds its build.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALL = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps $(1) || $(PIP) --no-deps $(1)

# What `make run` works on. CATALOG: a folder in the input contract; the demo world is generated without it.
CATALOG ?=
# The demo is to be seen soon; a catalogue of your own gets a model that is worth serving.
PRESET ?= $(if $(CATALOG),small,quick)
SEED ?= 0
DOMAINS ?= all
# Days START:END of dated logs, the end not included; empty: everything.
WINDOW ?=
# Where runs and their cache live; RUN names the run's folder (by default made of the arguments, so that a rerun resumes).
RUNS ?= runs
RUN ?=
# Which pipeline (empty: the first that is declared), and JSON over the preset, such as {"pretrain.steps": 100}.
PIPELINE ?=
OVERRIDES ?= {}
# How many of the nights of `make demo-nights`.
NIGHTS ?= 6

# Images: what they are built on, and their names.
BASE ?=
TAG ?= modit/{image}:dev
# 1: `train` with CUDA.
CUDA ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run demo-nights test test-e2e test-containers lint docs locks kubectl base-image images clean

help: ## what there is
	@grep -hE '^[a-z0-9./-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 24
	@echo "make run takes CATALOG=path PRESET=tiny|quick|small|base|paper SEED=0 DOMAINS=all|a,b WINDOW=start:end RUNS=folder RUN=name PIPELINE=retrain OVERRIDES='{...}'"
	@echo "make demo-nights takes RUNS=folder NIGHTS=1..6"

setup: $(READY) ## the environment in .venv that a run needs

setup-dev: $(DEVELOP) ## and what tests, docs and images need

$(READY): pyproject.toml infra/locks/run.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt uv
	$(call INSTALL,-r infra/locks/run.txt)
	$(PIP) -c constraints.txt torch
	$(call INSTALL,-e .)
	@touch $@

$(DEVELOP): $(READY) constraints.txt
	grep -v '^torch=' constraints.txt > $(VENV)/develop.txt
	$(call INSTALL,-r $(VENV)/develop.txt)
	@touch $@

run: $(READY) ## a pipeline under Airflow; ends with the verdict and where the report is
	$(BIN)/python -m dags.launch --catalog '$(CATALOG)' --preset '$(PRESET)' --seed '$(SEED)' --domains '$(DOMAINS)' \
		--window '$(WINDOW)' --runs '$(RUNS)' --run '$(RUN)' --pipeline '$(PIPELINE)' --overrides '$(OVERRIDES)'

demo-nights: $(READY) ## six nights of a demo world under Airflow, one of them bad, and a table of what became of each
	$(BIN)/python -m dags.demo_nights --runs '$(RUNS)' --nights '$(NIGHTS)'

test: $(DEVELOP) ## unit, pipeline and DAG tests; PYTEST_ARGS are passed on
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

test-e2e: $(DEVELOP) ## the tests that start Airflow and run the whole pipeline
	$(BIN)/python -m pytest -m e2e tests/e2e $(PYTEST_ARGS)

test-containers: $(DEVELOP) ## the tests that build the images and run them; skipped without a container engine
	$(BIN)/python -m pytest -m containers tests/containers $(PYTEST_ARGS)

docs: $(DEVELOP) ## the documentation site in build/site, with tables made anew and strict links
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(DEVELOP) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

dvc.yaml: $(wildcard components/*.py components/*/__init__.py) $(wildcard pipelines/dvc_*) | $(DEVELOP) ## the steps for DVC, from their declarations
	$(BIN)/python -m pipelines.dvc_view

pipelines/%.yaml: $(wildcard components/*.py components/*/__init__.py pipelines/kfp_*.py) | $(DEVELOP)
	MODIT_IMAGES= MODIT_SHARDS= $(BIN)/python -m pipelines.kfp_view $*

locks: $(DEVELOP) ## what each image installs, resolved under constraints.txt, into infra/locks
	$(BIN)/python -m infra.images lock
	$(BIN)/python -m infra.images lock run
	$(BIN)/python -m infra.images lock train --cuda

kubectl: $(DEVELOP) ## a recent kubectl into .venv/bin, for the tests of infra/kubernetes; Debian 12's is too old
	$(BIN)/python -m infra.kubectl

base-image: ## a Debian base without a registry (root, debootstrap, docker); then: make images BASE=modit/base:bookworm
	folder=$$(mktemp -d) && debootstrap --variant=minbase --include=ca-certificates bookworm $$folder \
		&& tar -C $$folder -c . | docker import - modit/base:bookworm; rm -rf $$folder

images: $(DEVELOP) ## the container images, on BASE (default: see infra/Dockerfile), named by TAG; CUDA=1: train with CUDA
	$(BIN)/python -m infra.images wheels $(if $(CUDA),--cuda)
	$(BIN)/python -m infra.images build --tag '$(TAG)' $(if $(CUDA),--cuda) $(if $(BASE),--base '$(BASE)')

clean: ## removes the environment, caches and Airflow's folder; runs stay
	rm -rf $(VENV) .airflow .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info src/*.egg-info
