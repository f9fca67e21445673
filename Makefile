# The two commands a newcomer needs: `make demo` and `make test`. Everything they install goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements-dev.lock
STAMP := $(VENV)/.installed
SOURCES := runtime console actors tools db simulation sandbox stress torture fuzz bench scripts tests
AUDIT := .venv-audit
SERVICE ?= pypi
SEEDS ?= 1000
SCENARIOS ?= scenarios
CASES ?= 100000

.PHONY: demo watch test documented image-steps conversations torture planted fuzz bench check lint types unit install system-packages lock speech clean \
	audit sbom licences

demo: install ## one whole simulated call, artifacts in runs/<time>/
	@$(BIN)/voice demo

watch: install ## the same behind the console's page, which begins more of them
	@$(BIN)/voice demo --console

test: install check unit ## lint, types and the whole test suite

conversations: install ## all scenarios held and graded: runs/conversations/, and a page to mail
	@$(BIN)/voice run $(SCENARIOS) --runs runs/conversations --html runs/conversations/report.html

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
	@find runtime console actors tools db simulation sandbox stress torture fuzz bench -name '*.py' -print0 | \
		xargs -0 -n 48 -P 2 $(BIN)/flake8-async --startable-in-context-manager=run,serve_connections,_keep

types: install
	@echo "== mypy --strict"
	@$(BIN)/mypy

unit: install
	@echo "== pytest"
	@$(BIN)/pytest

documented: install ## every command of README.md and docs/your-agent.md, run on a copy of the repository
	@$(BIN)/pytest -v -n 3 tests/documented/every_command.py

image-steps: install ## the steps of both Dockerfiles without a container engine, and what comes out, run (root on Linux)
	@$(BIN)/python -m scripts.image_steps

install: $(STAMP)

# Reinstalled only when the lock or the project file has changed, so that the second run is offline. Another
# interpreter, or a checkout that was moved, wants `make clean` first.
$(STAMP): $(LOCK) pyproject.toml scripts/install.sh
	@PYTHON=$(PYTHON) sh scripts/install.sh $(VENV) $(LOCK)
	@touch $@

system-packages: ## Debian packages the wire tests use; as root installs, else prints what is missing
	@sh scripts/system_packages.sh

lock: ## renew the locks (needs uv). Production gets the versions that are tested
	uv pip compile --universal --generate-hashes --no-header --no-annotate --quiet --upgrade --extra dev pyproject.toml -o requirements-dev.lock
	uv pip compile --universal --generate-hashes --no-header --no-annotate --quiet --upgrade --constraint requirements-dev.lock pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --no-header --no-annotate --quiet --upgrade --group audit -o requirements-audit.lock
	echo hatchling | uv pip compile --universal --generate-hashes --no-header --no-annotate --quiet --upgrade --constraint requirements-dev.lock - -o requirements-build.lock

audit: $(AUDIT)/.installed ## SERVICE=pypi|osv|esms: known vulnerabilities of all that is pinned (needs the network)
	@$(AUDIT)/bin/python scripts/audit.py --service $(SERVICE) $(sort $(wildcard requirements*.lock))

sbom: $(AUDIT)/.installed ## dist/sbom.cdx.json: what production installs, each with its licence
	@sh scripts/lay_out.sh .venv-production requirements.lock
	@mkdir -p dist
	@$(AUDIT)/bin/python -m cyclonedx_py environment --pyproject pyproject.toml --output-reproducible --of JSON \
		--output-file dist/sbom.cdx.json .venv-production/bin/python
	@$(AUDIT)/bin/python scripts/sbom.py dist/sbom.cdx.json requirements.lock

licences: install ## the licence of each pinned package; exit code 1 for one that is not allowed
	@$(BIN)/python scripts/licences.py

$(AUDIT)/.installed: requirements-audit.lock scripts/lay_out.sh
	@PYTHON=$(PYTHON) sh scripts/lay_out.sh $(AUDIT) requirements-audit.lock
	@touch $@

speech: install ## render the phrases of the scenarios again (needs Debian's flite)
	$(BIN)/python -m simulation.speech render scenarios/*.yaml

clean:
	rm -rf $(VENV) $(AUDIT) .venv-production runs .mypy_cache .ruff_cache
