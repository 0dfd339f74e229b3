# On a fresh machine with git, make and a Python 3.11 or newer:
#   make demo    sets up .venv and runs the main job
#   make quick   lint and the fast tests, in less than a minute: the loop while you change something
#   make test    sets up .venv and passes the tests
#   make test-slow  passes the tests that take long, which make test leaves out
#   make fuzz    hostile frames, messages and connections, from a seed
#   make chaos   kills, stops, delays and fills what it can while tasks run, and checks every outcome
# The rest: make test-all mutate lint types docs proto proto-check bench bench-peers sim soak dist wheel-test clean
# Options: PYTHON=/path/to/python3, VENV=folder, ARGS="what follows the command"
#   LINKS=1 lets `make docs` check links to other hosts too; it then needs a network
#   LOWEST=1 installs the lowest versions of the dependencies that pyproject.toml permits; give it a VENV of its own

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PROTO := protos/woolexec/v1/wire.proto
LOWEST ?=
# Each process of a run would compile every test module anew.
unexport PYTHONDONTWRITEBYTECODE
# A test that hangs is ended by its own watchdog; this one ends a run whose watchdog hangs.
# In the foreground: it would not hear Ctrl-C otherwise.
TEST_LIMIT ?= 2400
LIMIT = timeout --foreground --kill-after=10 $(TEST_LIMIT)
# Tests wait as much as they compute: more processes than processors, each with whole files, in the order of
# tests/selection.py.
JOBS ?= 4
PYTEST = -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
# Which tests make test-slow passes: those of "slow and versions" depend on the version of Python or of a dependency.
SLOW ?= slow
# Tests of most of the code that start few processes, and a local call, a call through a peer and a stream, for real.
QUICK ?= tests/core tests/wire tests/futures tests/api tests/engine \
    $(addsuffix .py,$(addprefix tests/test_,checks errors layers options public_surface resources)) \
    $(addsuffix _page.py,$(addprefix tests/docs/test_,contributing design)) tests/docs/test_walks.py
# Tests of many streams, coroutines and maps in real workers.
NOT_QUICK ?= tests/futures/test_awaiting.py $(addsuffix .py,$(addprefix tests/api/test_,async_api map_async propagation routines stream))
# What shows that a wheel is whole: its modules, command line, peers, and the documentation's snippets.
WHEEL_TESTS ?= tests/test_executor.py tests/test_public_surface.py tests/cli tests/docs/test_snippets.py tests/mesh/test_everywhere.py tests/observe/test_dashboard.py

# What shows that the source distribution has its tests, pages and tools.
SOURCE_TESTS ?= tests/core/test_ready_queue.py tests/test_packaging.py tests/test_release.py tests/docs/test_reference.py

.PHONY: help venv demo quick test test-slow test-browser test-all mutate chaos fuzz soak lint format types layers docs proto proto-check bench bench-peers sim dist wheel-test clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

# The stamps: .run holds what users get, .test what the tests need, .dev the tools as well; all are made anew when
# pyproject.toml changes.
$(VENV)/.run: pyproject.toml
	@if ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
	    line=$$(PYTHON="$(PYTHON)" .ci/pythons | sed -n 1p); \
	    echo "making $(VENV) with Python $$line"; \
	    rm -rf $(VENV); "$${line#* }" -m venv $(VENV); \
	fi
	@if [ -n "$(LOWEST)" ]; then $(BIN)/python .ci/lowest >$(VENV)/lowest.txt; else : >$(VENV)/lowest.txt; fi
	@$(PIP) install --constraint $(VENV)/lowest.txt -e .
	@touch $@

# Extras beside that of the tests; those that cannot be had are named, and their tests are skipped.
EXTRAS ?=
$(VENV)/.test: pyproject.toml | $(VENV)/.run
	@echo "installing what the tests need into $(VENV): less than a minute"
	@$(PIP) install --constraint $(VENV)/lowest.txt -e '.[test]'
	@for extra in $(EXTRAS); do \
	    $(PIP) install --constraint $(VENV)/lowest.txt -e ".[$$extra]" || echo "$$extra does not install here: its tests are skipped"; \
	done
	@touch $(VENV)/.run $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.test
	@echo "installing the tools into $(VENV)"
	@$(PIP) install -e '.[dev]'
	@touch $(VENV)/.run $(VENV)/.test $@

$(VENV)/.bench: pyproject.toml | $(VENV)/.run
	@$(PIP) install -e '.[bench]'
	@touch $(VENV)/.run $@

$(VENV)/.docs: pyproject.toml | $(VENV)/.run
	@echo "installing what the site needs into $(VENV)"
	@$(PIP) install -e '.[docs]'
	@touch $(VENV)/.run $@

venv: $(VENV)/.dev

demo: $(VENV)/.run
	@$(BIN)/woolexec demo $(ARGS)

quick: $(VENV)/.dev
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	$(LIMIT) $(BIN)/python $(PYTEST) --quiet --ignore-glob='tests/core/*simulation.py' $(addprefix --ignore=,$(NOT_QUICK)) $(QUICK) $(ARGS)

# Thousands of processes import the package and what the tests run in them.
test: $(VENV)/.test
	@echo "the tests take 5 to 11 minutes on two processors; some of them: make test ARGS=tests/core"
	@$(BIN)/python -m compileall -q woolexec tests
	$(LIMIT) $(BIN)/python $(PYTEST) $(ARGS)

# The pages in Chromium, which .ci/engines installs where it can.
test-browser: $(VENV)/.test
	@$(PIP) install -e '.[browser]' || echo "playwright does not install here: the tests of the pages are skipped"
	$(LIMIT) $(BIN)/python $(PYTEST) -m "slow or not slow" -n 0 tests/observe/test_page.py $(ARGS)

test-slow: $(VENV)/.test
	@$(BIN)/python -m compileall -q woolexec tests
	$(LIMIT) $(BIN)/python $(PYTEST) -m "$(SLOW)" $(ARGS)

# Plants flaws in the package, one at a time, and writes into tests/mutations.md which test sees each of them.
mutate: $(VENV)/.test
	$(BIN)/python -m tests.mutate $(ARGS)

# Five minutes of each kind of run; hours, with another seed: make chaos SECONDS=3600 SEED=7 WORLDS=mesh
SECONDS ?= 300
SEED ?= 1
WORLDS ?=
chaos: $(VENV)/.test
	$(BIN)/python -m tests.chaos $(WORLDS) --seconds $(SECONDS) --seed $(SEED) $(ARGS)

# A million tasks on local workers, and a million through a peer; another number: make soak ARGS="--tasks 10000 local"
soak: $(VENV)/.test
	$(BIN)/python -m tests.chaos.soak $(ARGS)

# Ten minutes of hostile inputs; an hour of some: make fuzz FUZZ_SECONDS=3600 SEED=7 TARGETS="session link"
FUZZ_SECONDS ?= 600
TARGETS ?=
fuzz: $(VENV)/.test
	$(BIN)/python -m tests.fuzz $(TARGETS) --seconds $(FUZZ_SECONDS) --seed $(SEED) $(ARGS)

# Every supported Python that is found, each in a folder of its own.
test-all:
	@failed=""; while read -r minor path; do \
	    echo "== Python $$minor"; \
	    $(MAKE) --no-print-directory test VENV=.venv-$$minor PYTHON="$$path" </dev/null || failed="$$failed $$minor"; \
	done < <(.ci/pythons); \
	if [ -n "$$failed" ]; then echo "failed on Python$$failed"; exit 1; fi

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy --config-file= --strict --follow-imports=silent tests/typing/usage.py tests/typing/kinds.py
	$(BIN)/pyright --project tests/typing --pythonpath $(BIN)/python
	$(BIN)/python -m tests.typing.surface

layers: $(VENV)/.dev
	$(BIN)/python -m pytest --quiet tests/test_layers.py

# The site is written to build/docs; a warning is an error, as is a link that leads nowhere.
SPHINX = $(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --keep-going --conf-dir docs --doctree-dir build/doctrees
docs: $(VENV)/.docs
	$(SPHINX) --builder html . build/docs
	$(if $(LINKS),$(SPHINX) --builder linkcheck . build/links)
	@echo "the site is in build/docs: open build/docs/index.html"

# Generated code is committed, so that users need no generator.
define generate
$(BIN)/python -m grpc_tools.protoc --proto_path=protos --python_out=$(1) --pyi_out=$(1) $(PROTO)
endef

proto: $(VENV)/.dev
	@made=$$(mktemp -d); trap 'rm -rf "$$made"' EXIT; \
	$(call generate,"$$made"); \
	cp "$$made"/woolexec/v1/wire_pb2.py "$$made"/woolexec/v1/wire_pb2.pyi woolexec/wire/

proto-check: $(VENV)/.dev
	@made=$$(mktemp -d); trap 'rm -rf "$$made"' EXIT; \
	$(call generate,"$$made"); \
	for file in wire_pb2.py wire_pb2.pyi; do \
	    diff -u "woolexec/wire/$$file" "$$made/woolexec/v1/$$file" || { echo "woolexec/wire/$$file is not what $(PROTO) says: make proto"; exit 1; }; \
	done; echo "generated code is up to date"

bench: $(VENV)/.bench
	$(BIN)/python -m tests.bench $(ARGS)

# Each competitor on its own: one that does not install here must not cost the others.
bench-peers: $(VENV)/.bench
	@for peer in loky mpire pebble distex joblib distributed ray; do $(PIP) install "$$peer" || echo "$$peer does not install here: left out"; done
	$(BIN)/python -m tests.bench --peers-lib $(ARGS)

# Large simulations of placement; writes docs/placement.md and docs/placement.svg.
sim: $(VENV)/.run
	@$(PIP) install -e '.[sim]'
	@touch $(VENV)/.run
	$(BIN)/python -m tests.sim --write $(ARGS)

# The wheel is built from the source distribution: what that lacks shows here.
dist: $(VENV)/.dev
	@rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	$(BIN)/python -m twine check --strict dist/*

# The end-to-end tests run in a copy beside the wheel: what the wheel lacks, or the source tree hides, shows here.
wheel-test: dist
	@room=$$(mktemp -d); trap 'rm -rf "$$room"' EXIT; \
	$(BIN)/python -m venv "$$room/venv"; \
	"$$room/venv/bin/python" -m pip --disable-pip-version-check --quiet install "$$(ls $$PWD/dist/*.whl)[test]"; \
	mkdir "$$room/tree"; cp -R tests docs examples README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE pyproject.toml "$$room/tree/"; cd "$$room/tree"; \
	$(LIMIT) "$$room/venv/bin/python" $(PYTEST) -p no:cacheprovider $(WHEEL_TESTS) $(ARGS); \
	mkdir "$$room/source"; tar --extract --gzip --strip-components=1 --directory "$$room/source" --file "$$(ls $(CURDIR)/dist/*.tar.gz)"; \
	cd "$$room/source"; $(LIMIT) "$$room/venv/bin/python" $(PYTEST) -p no:cacheprovider $(SOURCE_TESTS)

clean:
	rm -rf .venv .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .cache
	find woolexec tests -name __pycache__ -type d -prune -exec rm -rf {} +
