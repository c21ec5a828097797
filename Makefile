# One word a target; `make help` lists them. Every target sets up what it needs first.
SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

bin := .venv/bin
ready := .venv/.ready
rooms := $(foreach room,schema membership reconciler fencing xapi simulator snmp cli,$(wildcard $(room)/__init__.py))
rooms := $(rooms:/__init__.py=)

# Facts recorded from a real server, which the simulator and the XenAPI client are checked against.
ifneq ($(wildcard ../shared/xenapi-datamodel.json),)
export CXM_XENAPI_FACTS ?= $(abspath ../shared)
endif

# Tests that start real processes share two cores; more workers than cores only make time-outs.
workers ?= $(shell nproc)
pytest := $(bin)/python -m pytest --numprocesses $(workers) --dist loadgroup

# A runner of other makers' clusters, to be measured in the same run.
ifneq ($(wildcard ../shared/bench-peers/ha3.py),)
beside := --beside $(abspath ../shared/bench-peers/ha3.py)
endif

.PHONY: help setup demo test check lint types imports shape sim sabotage explore noise mutants wire npm netns bench clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

setup: $(ready) ## system packages, .venv and Python packages (Debian 12; root or sudo)

$(ready): pyproject.toml .ci/setup
	@.ci/setup
	@touch $@

demo: $(ready) ## a simulated pool, a repository, three nodes: a commit converges, a server dies
	@PATH="$(CURDIR)/$(bin):$$PATH" $(bin)/cxm demo --peers 3

check: $(ready) ## formatting, lint, types, import contracts, shape of the code: under a minute
	@$(MAKE) --keep-going --jobs=2 --output-sync=target lint types imports shape

lint: $(ready)
	@$(bin)/ruff check --quiet .
	@$(bin)/ruff format --check --quiet . || $(bin)/ruff format --check .

types: $(ready)
	@$(bin)/mypy --no-error-summary $(rooms) bench tests

imports: $(ready)
	@$(bin)/lint-imports --no-logo

shape: $(ready)
	@$(bin)/python -m pytest -q tests/architecture

test: check ## check, then every test
	@$(pytest) tests

# make sim SEEDS=500, or HOURS=100 of simulated time; FIRST is the first fresh seed.
SEEDS ?= 300
FIRST ?= 1000
sim: $(ready) ## simulated pools in virtual time; SEEDS=n or HOURS=h of random trouble
	@$(pytest) -q $(wildcard tests/simulator tests/simulation tests/xapi/virtual)
	@$(bin)/python -m tests.simulation.episodes --first $(FIRST) $(if $(HOURS),--hours $(HOURS),--seeds $(SEEDS))
	@$(bin)/python -m tests.simulation.peers.peer_episodes --first $(FIRST) $(if $(HOURS),--hours $(HOURS),--seeds $(SEEDS))
	@$(bin)/python -m tests.simulation.fencing.fence_episodes --first $(FIRST) $(if $(HOURS),--hours $(HOURS),--seeds $(SEEDS))
	@$(bin)/python -m tests.simulation.fencing.drill_episodes --first $(FIRST) $(if $(HOURS),--hours $(HOURS),--seeds $(SEEDS))

sabotage: $(ready) ## deliberately broken daemons: which seed, seam or story catches each
	@$(bin)/python -m tests.simulation.every_sabotage

# make explore NODES=3 FAULTS=2 STATES=300000; a minute for 60,000 states.
NODES ?= 3
FAULTS ?= 2
STATES ?= 300000
explore: $(ready) ## every moment of a small pool with faults, one after the other, up to STATES of them
	@$(bin)/python -m tests.explore.explore --nodes $(NODES) --faults $(FAULTS) --states $(STATES)

HOURS_OF_NOISE ?= 20
noise: $(ready) ## loss, pauses, slow disks and clocks that jump: how often a living node would be shot
	@$(bin)/python -m tests.membership.noise --hours $(HOURS_OF_NOISE)

# make mutants MODULES=fencing/brake.py for one of them.
mutants: $(ready) ## change the decisions of fencing and election one by one: do their tests notice?
	@$(bin)/python -m tests.mutants.mutants $(MODULES)

wire: $(ready) ## clients of other makers against the simulator's ports
	@$(pytest) -q tests/wire

npm: ## the foreign client in JavaScript, from npm, for the tests of `wire`; needs node
	@npm ci --prefix tests/wire/npm --no-audit --no-fund --silent

# make netns RUN=two-peers for one of them; needs root.
netns: $(ready) ## real nodes in network namespaces: cables, disks and daemons fail
	@$(bin)/python -m tests.netns.runs $(RUN)

bench: $(ready) ## decode, diff and plan up to 20,000 VMs, what peers cost, how soon VMs run again; fails below a floor
	@$(bin)/python -m bench.core
	@$(bin)/python -m bench.peers $(beside)
	@$(bin)/python -m bench.failover $(beside)

clean: ## remove the environment and every cache
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -r {} +
