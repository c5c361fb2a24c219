# `make` lists what can be done. Everything happens in this checkout; the caches of pip, uv and test-servers are the only places outside it.
.DEFAULT_GOAL := help
.PHONY: help demo up test test-all test-browser test-compose test-monitoring test-servers bench chaos chaos-proofs check lint docs diagrams lock release sbom contract-facts clean setup

BIN := .venv/bin
# four at a time, as they wait half of the time, each with servers of its own; neighbours stay together until one has nothing left to do
PARALLEL := -n 4 --dist worksteal
export PYTHON
# a module is compiled once, not at each start of a process
unexport PYTHONDONTWRITEBYTECODE

help: ## List what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12 chooses the interpreter; ARGS='...' is handed to demo, up, test, test-all, test-browser, test-servers, chaos and lock."

demo: setup ## Run the whole main job once against the sandbox, and say what happened
	@exec $(BIN)/backmarket demo $(ARGS)

up: setup ## Run the embedded stack with workers, beat, Flower and the console, until Ctrl-C
	@exec $(BIN)/backmarket up $(ARGS)

test: setup ## Run the tests that a change is trusted by (5 minutes on two quiet cores)
	@mkdir -p .tmp
	@TEST_QUICKLY=1 PYTEST_DEBUG_TEMPROOT="$(CURDIR)/.tmp" exec $(BIN)/pytest -m "not slow" $(PARALLEL) $(ARGS)

test-all: setup ## Run all tests, also those that repeat, linger or play rounds, with coverage unless ARGS chooses some (half an hour)
	@mkdir -p .tmp
	@PYTEST_DEBUG_TEMPROOT="$(CURDIR)/.tmp" exec $(if $(ARGS),$(BIN)/pytest,scripts/coverage) $(PARALLEL) $(ARGS)

test-monitoring: setup ## Try alerts and dashboard with a real Prometheus (needs Debian's package `prometheus`)
	@exec $(BIN)/python -m pytest -p tests.conftest monitoring $(ARGS)

test-browser: setup ## Use the console in a real browser (Chromium, from the system's packages)
	@mkdir -p .tmp
	@CHROMIUM="$$(scripts/chromium)" && export CHROMIUM && \
	 PYTEST_DEBUG_TEMPROOT="$(CURDIR)/.tmp" exec $(BIN)/pytest tests/browser $(ARGS)

test-compose: setup ## Run docker-compose.yml on a real engine, break it, scale it (root, Debian; a quarter of an hour)
	@exec $(BIN)/python -m tests.compose $(ARGS)

test-servers: setup ## Run tests against real servers of other makes, and print one table (ARGS="s3 postgres" takes some)
	@exec $(BIN)/python -m tests.servers $(ARGS)

bench: setup ## Compare with dlt and a bare script, see how costs grow, write docs/performance/ (15 minutes)
	@exec $(BIN)/python -m bench

chaos: setup ## Play 200 rounds of faults, going on where it was left (ARGS="--seeds 17..40 --again")
	@exec $(BIN)/python -m chaos $(ARGS)

chaos-proofs: setup ## Show that the rounds turn red with a safeguard switched off
	@exec $(BIN)/python -m chaos.proofs $(ARGS)

check: setup ## Run the linters, changing nothing
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/python scripts/licences >/dev/null
	@for script in scripts/setup scripts/uv scripts/sbom scripts/coverage scripts/chromium scripts/release deploy/alive deploy/secrets deploy/postgres/backmarket.sh deploy/redis/start; do sh -n $$script || exit; done
	@bash -n .ci/run && bash -n scripts/engine

lint: setup ## Mend and format what the linters can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

docs: setup ## Build the documentation as a site into dist/docs; a warning or a dead link is an error
	@NO_MKDOCS_2_WARNING=1 exec $(BIN)/mkdocs build $(ARGS)

diagrams: ## Draw docs/diagrams again, from the .dot files beside them (needs Debian's package `graphviz`)
	@for drawing in docs/diagrams/*.dot; do dot -Tsvg "$$drawing" -o "$${drawing%.dot}.svg" || exit; done

lock: setup ## Write requirements.lock again (ARGS=--upgrade takes newer versions)
	@UV_FIND_LINKS= scripts/uv $(BIN) pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
	  --custom-compile-command "make lock" --output-file requirements.lock $(ARGS) pyproject.toml

release: setup ## Build and try a release in dist/; publishes nothing, and says what is left to do (a quarter of an hour)
	@scripts/release

sbom: setup ## Write dist/sbom.json: the packages of a deployment (CycloneDX), as requirements.lock pins them
	@scripts/sbom

contract-facts: setup ## Write tests/contract/facts.json again from the OpenAPI file (ARGS=FILE)
	@$(BIN)/python scripts/contract-facts $(ARGS)

setup: ## Make .venv from requirements.lock; every other target does it as needed
	@scripts/setup

clean: ## Remove .venv, the caches and whatever else was made here
	@rm -rf .venv .setup.lock .tmp .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
