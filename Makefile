# `make` alone says what there is. Every target sets up what it needs.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
LOCK_VENV := .venv-lock
AUDIT_VENV := .venv-audit
# Stamps: their dates tell make whether the set-up is newer than what it is made from.
DEPENDENCIES := $(VENV)/.dependencies-installed
INSTALLED := $(VENV)/.parley-installed
BENCH_INSTALLED := $(VENV)/.bench-installed
DOCS_INSTALLED := $(VENV)/.docs-installed
# The examples share it with the Parley that `make dev` runs.
DEV_SECRET := .parley/secret

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Running as root is fine here: nothing outside .venv is touched.
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install dev example-fastapi example-express test test-unit test-e2e test-chaos test-cov fuzz soak \
	lint format pre-commit docs budgets bench bench-quick lock audit-deps clean

# Lists the targets that have a text behind `##`, below the headings behind `##@`.
help:
	@echo "Parley: a chat server that speaks Socket.IO."
	@echo "Each target sets up what it needs; all it takes is Python 3.11 or newer."
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Options:"
	@echo "  make dev ARGS='--port 4000'    make test ARGS='-k inbox'    make bench ARGS='--help'"
	@echo "  make PYTHON=python3.12 install"

##@ Try it

dev: $(INSTALLED) ## Run Parley with a SQLite file and two ready users
	@exec $(BIN)/parley dev $(ARGS)

example-fastapi: $(DEV_SECRET) $(INSTALLED) ## Run an application on FastAPI whose users chat, beside `make dev`
	@JWT_SECRET_KEY=$$(cat $(DEV_SECRET)) exec $(BIN)/uvicorn --app-dir examples/fastapi app:app $(ARGS)

example-express: $(DEV_SECRET) ## The same on Express, if there is Node.js
	@cd examples/express && npm ci --no-audit --no-fund
	@JWT_SECRET_KEY=$$(cat $(DEV_SECRET)) exec node examples/express/server.js

##@ Check it

test: $(INSTALLED) ## Run all tests
	$(BIN)/python -m pytest $(ARGS)

test-unit: $(INSTALLED) ## Run the fast tests, of one part at a time
	$(BIN)/python -m pytest tests/unit tests/contract $(ARGS)

test-e2e: $(INSTALLED) ## Run the tests with real servers and real clients
	$(BIN)/python -m pytest tests/e2e tests/conformance tests/cluster tests/page tests/examples \
		tests/docs tests/soak $(ARGS)

test-chaos: $(INSTALLED) ## Break everything, again and again, while clients write (some 15 minutes)
	PARLEY_CHAOS=long $(BIN)/python -m pytest tests/chaos $(ARGS)

test-cov: $(INSTALLED) ## Run all tests and report what they do not reach
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered $(ARGS)

fuzz: $(INSTALLED) ## Feed every parser hostile input, other than `make test` did, for 10 minutes
	@$(BIN)/python -m tests.fuzz $(ARGS)

soak: $(INSTALLED) ## Let a crowd come and go for 10 minutes: nothing of it may stay in the servers
	@$(BIN)/python -m tests.soak $(ARGS)

docs: $(DOCS_INSTALLED) ## Build the documentation into build/docs; a warning fails it
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going docs build/docs
	@echo "Open build/docs/index.html"

lint: $(INSTALLED) ## Check style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED) ## Format the code and repair what can be repaired
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python -m docs.settings_page

pre-commit: $(INSTALLED) ## Check all files, and from now on each commit before it is made
	$(BIN)/pre-commit install
	$(BIN)/pre-commit run --all-files

##@ Measure it

budgets: $(INSTALLED) ## Show what the hot paths cost, beside their budgets
	$(BIN)/python -m tests.performance $(ARGS)

bench: $(BENCH_INSTALLED) ## Measure Parley beside its peers (some 35 minutes), into docs/performance.md
	$(BIN)/python -m bench $(ARGS)

bench-quick: $(BENCH_INSTALLED) ## Measure what tells most, in a few minutes
	$(BIN)/python -m bench --quick $(ARGS)

##@ Keep it in order

install: $(INSTALLED) ## Create .venv with the locked dependencies and Parley itself

lock: $(LOCK_VENV)/.installed ## Pin the dependencies anew, at their latest versions
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra dev --constraint requirements.lock \
		--output-file requirements-dev.lock pyproject.toml
	$(COMPILE) --extra bench --constraint requirements-dev.lock \
		--output-file requirements-bench.lock pyproject.toml
	$(COMPILE) --extra docs --constraint requirements-bench.lock \
		--output-file requirements-docs.lock pyproject.toml

# --strict: what could not be looked up fails it, too.
audit-deps: $(AUDIT_VENV)/.installed ## Look the locked versions up among known vulnerabilities (by network)
	@for lock in requirements*.lock; do \
		echo "$$lock:"; \
		$(AUDIT_VENV)/bin/pip-audit --strict --require-hashes --disable-pip \
			--progress-spinner off --requirement $$lock || found=yes; \
	done; test -z "$$found"

clean: ## Remove what the other targets made, but never your data
	rm -rf $(VENV) $(LOCK_VENV) $(AUDIT_VENV) build dist htmlcov coverage.xml .coverage .coverage.* \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache \
		bench/peers/*/node_modules bench/peers/*/dist examples/*/node_modules
	find src tests bench docs examples -name __pycache__ -type d -prune -exec rm -rf {} +

# --- how the set-up is made ---------------------------------------------------------------------

# --clear: what the lock no longer names, or an interrupted run left half done, goes away.
$(DEPENDENCIES): requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Parley needs Python 3.11 or newer, and '$(PYTHON)' is not that." \
			"Name another one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV) (this once)..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# No isolation: hatchling is in the lock, so that nothing unpinned is fetched.
$(INSTALLED): $(DEPENDENCIES) pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# Over the rest: its lock agrees with theirs.
$(BENCH_INSTALLED): $(INSTALLED) requirements-bench.lock
	@$(PIP) install --require-hashes -r requirements-bench.lock
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED) requirements-docs.lock
	@$(PIP) install --require-hashes -r requirements-docs.lock
	@touch $@

$(DEV_SECRET):
	@echo "Run 'make dev' in another terminal first: the example shares its secret." >&2; exit 1

# pip-tools has an environment of its own: it wants its own versions of pip and setuptools.
$(LOCK_VENV)/.installed:
	@$(PYTHON) -m venv --clear $(LOCK_VENV)
	@$(LOCK_VENV)/bin/python -m pip --quiet --disable-pip-version-check install "pip-tools>=7.5"
	@touch $@

# In an environment of its own, too: what looks for holes isn't among what is looked at.
$(AUDIT_VENV)/.installed:
	@$(PYTHON) -m venv --clear $(AUDIT_VENV)
	@$(AUDIT_VENV)/bin/python -m pip --quiet --disable-pip-version-check install "pip-audit>=2.9"
	@touch $@

# Hashes of every file of each release, and not a word about the index they were found in. Use
# the oldest Python that Parley supports: what only it needs would be left out otherwise.
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(LOCK_VENV)/bin/pip-compile --quiet --upgrade \
	--generate-hashes --strip-extras --allow-unsafe --no-emit-options --no-emit-index-url \
	--no-emit-trusted-host --no-emit-find-links
