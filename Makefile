# Every verb of the project; people and CI use the same ones. Needs make and Python 3.11 or later; `make help` lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SWIFT_VENV := .venv-swift
AZURITE := tests/support/azurite
PIP := -m pip -qq --disable-pip-version-check --no-input --no-python-version-warning
PIP_INSTALL := install --root-user-action=ignore

# The interpreter of .venv; empty: the first that is new enough. One that was built with optimizations is faster.
PYTHON ?=

# Parallel test processes: at least 2, at most 8. `make test JOBS=4 TESTS=tests/cli` narrows a run.
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ $$n -ge 2 ] || n=2; [ $$n -le 8 ] || n=8; echo $$n)
# tests/conformance is named so that its report is printed: plugins of folders below are not seen by the parallel runner.
TESTS ?= tests tests/conformance
BASE_URL ?= http://127.0.0.1:8080/dicomweb

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: serve
serve: $(INSTALLED) ## Install what is missing and run the server; GANTRY_* settings apply
	@exec $(BIN)/gantry serve

.PHONY: test
test: lint test-servers ## Everything: linters, types, import contracts, all tests
	$(BIN)/pytest -n $(JOBS) --dist loadfile -q $(TESTS)

.PHONY: install
install: $(INSTALLED) ## Make .venv with everything in requirements.lock

.PHONY: lint
lint: $(INSTALLED) ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(INSTALLED) ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: openapi
openapi: $(INSTALLED) ## Write openapi/openapi.json anew
	$(BIN)/gantry openapi --output openapi/openapi.json

.PHONY: conformance
conformance: $(INSTALLED) ## Black-box PS3.18 suite against BASE_URL (any DICOMweb server)
	$(BIN)/pytest tests/conformance --base-url $(BASE_URL)

.PHONY: conformance-statement
conformance-statement: $(INSTALLED) ## Write openapi/conformance.md anew
	$(BIN)/python -m tests.conformance.statement

.PHONY: bench
bench: $(INSTALLED) ## Speed suite beside orthanc and nginx, 15 minutes; BENCH="--only frame --seconds 2" narrows it
	@$(BIN)/python -m benchmarks $(BENCH)

.PHONY: bench-newest
bench-newest: ## The same beside Debian's newest orthanc, in a Debian of its own: NEWEST=folder; root and debootstrap
	@benchmarks/newest_peer.sh "$(NEWEST)" $(BENCH)

.PHONY: lock
lock: ## Resolve the dependencies anew; UPGRADE=1 takes the newest versions
	@tool=$$(mktemp -d) && trap 'rm -rf "$$tool"' EXIT && $(FIND_PYTHON) && \
	"$$python" -m venv "$$tool" && "$$tool/bin/python" $(PIP) install uv && \
	compile() { "$$tool/bin/uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" "$$@"; } && \
	compile $(if $(UPGRADE),--upgrade) pyproject.toml --group dev -o requirements.lock && \
	compile pyproject.toml -c requirements.lock -o docker/requirements-runtime.lock && \
	echo hatchling | compile - --python-version 3.11 -c requirements.lock -o docker/requirements-build.lock

.PHONY: clean
clean: ## Remove what was installed and built; data folders stay
	rm -rf $(VENV) $(SWIFT_VENV) $(AZURITE)/node_modules tests/clients/js/node_modules build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache \
		.import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Sets $python to an interpreter that is new enough, or says in one line that there is none.
FIND_PYTHON = python=; for name in $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11); do \
	if command -v $$name >/dev/null 2>&1 && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		python=$$name; break; fi; done; \
	if [ -z "$$python" ]; then echo "Gantry needs Python 3.11 or later: install python3.13, python3.12 or python3.11" >&2; exit 1; fi

# MAKE_VENV folder: a virtual environment, or one line about the package that Debian and Ubuntu keep apart.
MAKE_VENV = "$$python" -m venv $(1) || { echo "$$python cannot make a virtual environment: install python3-venv" >&2; exit 1; }

# The stamps let a second run start at once. The project itself is installed without network: its build backend is in the lock.
$(INSTALLED): requirements.lock pyproject.toml
	@$(FIND_PYTHON); echo "Installing into $(VENV) ..."; $(call MAKE_VENV,$(VENV))
	@$(BIN)/python $(PIP) $(PIP_INSTALL) --require-hashes -r requirements.lock
	@$(BIN)/python $(PIP) $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# Object stores for the tests: S3 (OpenStack Swift, in an environment of its own) and Azure (Azurite, where npm is installed).
.PHONY: test-servers
test-servers: $(SWIFT_VENV)/.installed $(AZURITE)/node_modules/.installed

$(SWIFT_VENV)/.installed: tests/support/swift/requirements.lock
	@$(FIND_PYTHON); echo "Installing into $(SWIFT_VENV) ..."; $(call MAKE_VENV,$(SWIFT_VENV))
	@$(SWIFT_VENV)/bin/python $(PIP) $(PIP_INSTALL) --require-hashes -r $<
	@touch $@

$(AZURITE)/node_modules/.installed: $(AZURITE)/package-lock.json
	@mkdir -p $(@D)
	@if command -v npm >/dev/null 2>&1; then echo "Installing Azurite ..."; \
		npm ci --silent --no-audit --no-fund --prefix $(AZURITE); else echo "npm is not installed: no Azure tests"; fi
	@touch $@
