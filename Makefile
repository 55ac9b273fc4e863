# Plain cargo underneath. One profile (release) everywhere, so that libtorch's wrapper is compiled once.

CARGO ?= cargo
PYTHON ?= python3

.PHONY: help libtorch build compare test lint

help:           ## List the targets
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 15

libtorch:       ## Fetch libtorch into .libtorch, unless it is there or LIBTORCH is set
	@$(PYTHON) host/libtorch/fetch.py

build: libtorch ## Build the host and the shipped plugins
	$(CARGO) build --release --locked --workspace
	@$(CARGO) run --release --locked --quiet -- --quiet plugin lock --shipped

compare: build  ## Run the quickstart comparison; more arguments: make compare ARGS="--help"
	$(CARGO) run --release --locked --quiet -- compare $(ARGS)

test: build     ## Run all tests
	$(CARGO) test --release --locked --workspace

lint: libtorch  ## Check format, lints and dependencies, as before a change lands
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check licenses bans sources; \
	else echo "cargo-deny is not installed: its checks are skipped (the tests check the licences)"; fi
