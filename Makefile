# The two commands a newcomer needs: `make demo` and `make test`. Everything they install goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements-dev.lock
STAMP := $(VENV)/.installed
SOURCES := runtime console actors tools db simulation sandbox stress torture fuzz bench tests
SEEDS ?= 1000
CASES ?= 100000

.PHONY: demo watch test conversations torture planted fuzz bench check lint types unit install system-packages lock speech clean

demo: install ## one whole simulated call, artifacts in runs/<time>/
	@$(BIN)/voice demo

watch: install ## the same behind the console's page, which begins more of them
	@$(BIN)/voice demo --console

test: install check unit ## lint, types and the whole test suite

conversations: install ## all scenarios held and graded: runs/conversations/, and a page to mail
	@$(BIN)/voice run scenarios --runs runs/conversations --html runs/conversations/report.html

torture: install ## SEEDS=1000 random calls with random faults, in virtual time
	@$(BIN)/voice torture --seeds 0..$$(($(SEEDS) - 1)) --jobs 2

planted: install ## faults planted in a copy of the agent, one at a time: which checks notice, and no false alarm
	@$(BIN)/python -m sandbox.planted --jobs 2

fuzz: install ## hostile bytes at both doors and from Vapi's side; requests over HTTP; calls under siege
	@$(BIN)/python -m fuzz --cases $(CASES) --jobs 2
	@$(BIN)/python -m fuzz http --cases 2000
	@$(BIN)/python -m fuzz siege

bench: install ## this runtime beside its peers: CPU, latency, memory; tables, bench/results/latest.json
	@$(BIN)/python -m bench

check: lint types

lint: install
	@echo "== ruff, flake8-async"
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/flake8-async --startable-in-context-manager=run,serve_connections,_keep $$(find runtime console actors tools db simulation sandbox stress torture fuzz bench -name '*.py')

types: install
	@echo "== mypy --strict"
	@$(BIN)/mypy

unit: install
	@echo "== pytest"
	@$(BIN)/pytest

install: $(STAMP)

# Reinstalled only when the lock or the project file has changed, so that the second run is offline. Another
# interpreter, or a checkout that was moved, wants `make clean` first.
$(STAMP): $(LOCK) pyproject.toml scripts/install.sh
	@PYTHON=$(PYTHON) sh scripts/install.sh $(VENV) $(LOCK)
	@touch $@

system-packages: ## Debian packages the wire tests use; as root installs, else prints what is missing
	@sh scripts/system_packages.sh

lock: ## renew both locks (needs uv)
	uv pip compile --universal --generate-hashes --no-header --no-annotate --quiet --upgrade pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --no-header --no-annotate --quiet --upgrade --extra dev pyproject.toml -o requirements-dev.lock

speech: install ## render the phrases of the scenarios again (needs Debian's flite)
	$(BIN)/python -m simulation.speech render scenarios/*.yaml

clean:
	rm -rf $(VENV) runs .mypy_cache .ruff_cache
