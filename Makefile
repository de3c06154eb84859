# Every task of this repository; `make` alone lists them. Needs python3 (3.11 or newer), make and, for the contract's checks and the console's tests, npm.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
export PYTHON
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Only wheels, each with its hash: nothing is built from a source archive, so nothing unpinned takes part in a build. The lock
# is complete (`pip check` proves it), so pip resolves nothing: it would look for google-auth[requests] beside the pinned google-auth.
PIP_LOCKED := $(PIP) install --quiet --only-binary :all: --no-deps --require-hashes
UV_LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-package pictor --no-emit-package pictor-loadtest --no-emit-package pictord --custom-compile-command "make lock" $(UPGRADE)
NPM_STAMP := node_modules/.package-lock.json
BUF := node_modules/.bin/buf

# A provider's own credentials; without any of them, and without a configuration file, `make serve` falls to the sandbox.
KEYS := $(OPENAI_API_KEY)$(GEMINI_API_KEY)$(GOOGLE_CLOUD_PROJECT)$(PICTOR_CONFIG)

.PHONY: help
help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do \
		printf '  make %-14s %s\n' "$$name" "$$text"; done

# ---------------------------------------------------------------------------------------------------------- environment

.PHONY: install
install: .venv/.installed ## Make .venv from the lock file; instant when nothing changed

.venv/.locked: requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer, please: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(PIP_LOCKED) -r requirements-dev.lock
	@touch $@

.venv/.installed: .venv/.locked pyproject.toml clients/python/pyproject.toml clients/loadtest/pyproject.toml
	$(PIP) install --quiet --no-deps --no-index --no-build-isolation -e clients/python -e clients/loadtest -e .
	$(PIP) check
	@touch $@

$(NPM_STAMP): package-lock.json
	npm ci --loglevel=error
	@touch $@

TS := clients/typescript
TS_STAMP := $(TS)/node_modules/.package-lock.json
$(TS_STAMP): $(TS)/package-lock.json
	npm --prefix $(TS) ci --loglevel=error
	@touch $@

.PHONY: lock
lock: | .venv/.locked ## Pin what the pyproject.toml files ask for (UPGRADE=--upgrade for newer versions)
	$(UV_LOCK) requirements-build.in -o requirements-build.lock
	$(UV_LOCK) requirements.in -o requirements.lock
	$(UV_LOCK) requirements-dev.in -o requirements-dev.lock
	$(UV_LOCK) clients/loadtest/locust/requirements.in -o clients/loadtest/locust/requirements.lock

.PHONY: clean
clean: ## Remove everything that can be made again
	rm -rf .venv node_modules dist build demo-output bench-output loadtest-output console-screenshots .make .data \
		*.egg-info */*.egg-info */*/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
		clients/python/build clients/loadtest/build clients/java/target $(TS)/node_modules $(TS)/dist $(TS)/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------------------------------------ run

.PHONY: demo
demo: install ## Sandbox, gateway and a tour of everything; pictures in demo-output/
	$(BIN)/python -m pictord.demo

.PHONY: serve
serve: install ## The gateway on loopback; on the sandbox if the environment has no provider key
ifeq ($(strip $(KEYS)),)
	@echo '***********************************************************************************************'
	@echo '*** SANDBOX: no provider key in the environment, so every picture is drawn here and is free ***'
	@echo '***********************************************************************************************'
	exec $(BIN)/pictord serve --sandbox
else
	exec $(BIN)/pictord serve
endif

.PHONY: bench
bench: install ## Speed and memory against the bare SDKs, as a table with pass or not
	$(BIN)/python -m bench

RATE ?= 4
DURATION ?= 60s
TIME_SCALE ?= 0.1

.PHONY: loadtest
loadtest: install ## Load on a sandbox gateway of its own (RATE=4 DURATION=60s); the report is in loadtest-output/
	tools/with-sandbox $(TIME_SCALE) $(BIN)/pictor loadtest --rate $(RATE) --duration $(DURATION)

.PHONY: loadtest-tools
loadtest-tools: .venv/.locust .make/bin/ghz .make/bin/k6 ## The set-ups of ghz, k6 and locust for seconds on the sandbox; needs go
	tools/with-sandbox 0.02 $(BIN)/python tools/try-load-tools

.venv/.locust: .venv/.installed clients/loadtest/locust/requirements.lock
	$(PIP_LOCKED) -r clients/loadtest/locust/requirements.lock
	@touch $@

.make/bin/ghz: clients/loadtest/ghz/go.mod clients/loadtest/ghz/go.sum
	cd clients/loadtest/ghz && go build -o $(CURDIR)/$@ github.com/bojand/ghz/cmd/ghz

.make/bin/k6: clients/loadtest/k6/go.mod clients/loadtest/k6/go.sum
	cd clients/loadtest/k6 && go build -o $(CURDIR)/$@ go.k6.io/k6

# ---------------------------------------------------------------------------------------------------------------- check

.PHONY: test
test: install $(NPM_STAMP) ## All tests
	$(BIN)/pytest

.PHONY: screenshots
screenshots: install $(NPM_STAMP) ## The console's pages on desktop and phone, light and dark, as pictures in console-screenshots/
	PICTOR_SCREENSHOTS=console-screenshots $(BIN)/pytest -q tests/console -k is_accessible_and_fits

.PHONY: oracle
oracle: install ## The money oracle for long: 20,000 calls with faults, and 200 kills; about ten minutes
	PYTHONPATH=tests $(BIN)/python -m oracle

.PHONY: mutants
mutants: install ## Break the code on purpose; the property tests must notice every time
	$(BIN)/python tests/mutants/run.py

.PHONY: types
types: install ## mypy --strict over server and client
	$(BIN)/mypy

.PHONY: lint
lint: install lint-code lint-imports lint-protos lint-tree gen-check ## Style, import direction, contract, and what no file may hold

.PHONY: lint-code
lint-code: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: lint-imports
lint-imports: install
	$(BIN)/lint-imports --no-logo

.PHONY: lint-protos
lint-protos: $(NPM_STAMP)
	$(BUF) lint
	$(BUF) format --diff --exit-code
	tools/buf-breaking

.PHONY: lint-tree
lint-tree:
	tools/lint-tree

.PHONY: gen
gen: install $(NPM_STAMP) $(TS_STAMP) ## Write the Python, TypeScript and Go stubs, protos/pictor.binpb, docs/contract.md and service_config.json again
	tools/gen .

.PHONY: gen-check
gen-check: install $(NPM_STAMP) $(TS_STAMP) ## Prove that what `make gen` writes is what is committed
	tools/gen-check

.PHONY: client-typescript
client-typescript: install $(TS_STAMP) ## Compile, lint and test the TypeScript client; needs `npm`
	npm --prefix $(TS) run --silent lint
	npm --prefix $(TS) run --silent test

.PHONY: wheels
wheels: install ## Build all wheels, install them as the Dockerfile does, and run them without the source tree
	tools/try-wheels

.PHONY: ops
ops: ## Check Prometheus' configuration, and play the alert rules histories; needs promtool (Debian: prometheus)
	@command -v promtool >/dev/null || { echo "make ops needs promtool: install Debian's package prometheus" >&2; exit 1; }
	promtool check config deploy/prometheus/prometheus.yml
	promtool test rules deploy/prometheus/alerts_test.yml

.PHONY: client-go
client-go: install ## Check, build and test the Go client against a gateway on the sandbox
	cd clients/go && go vet ./... && test -z "$$(gofmt -l . | tee /dev/stderr)" && go test -count=1 ./...

.PHONY: client-java
client-java: install ## Build and test the Java client against a gateway on the sandbox, and run its README
	mvn -B -q -f clients/java verify
	clients/java/try-readme

.PHONY: check
check: lint types ops wheels client-typescript client-go client-java loadtest-tools test ## Everything CI runs
