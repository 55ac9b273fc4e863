# Plain cargo underneath. One profile (release) everywhere, so that libtorch's wrapper is compiled once.

CARGO ?= cargo
PYTHON ?= python3
# A plugin of your own joins Cargo.lock when it is first built; where CI is set, Cargo.lock must be complete as it is.
LOCKED ?= $(if $(CI),--locked)

.PHONY: help libtorch build compare test lint peer fixtures parity speed cuda-check

help:           ## List the targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 17

libtorch:       ## Fetch libtorch into .libtorch, unless it is there or LIBTORCH is set
	@$(PYTHON) host/libtorch/fetch.py

build: libtorch ## Build the host and the shipped plugins
	$(CARGO) build --release $(LOCKED) --workspace
	@$(CARGO) run --release $(LOCKED) --quiet -- --quiet plugin lock --shipped

compare: build  ## Run the quickstart comparison; more arguments: make compare ARGS="--help"
	$(CARGO) run --release $(LOCKED) --quiet -- compare $(ARGS)

test: build     ## Run all tests
	$(CARGO) test --release $(LOCKED) --workspace

lint: libtorch  ## Check format, lints and dependencies, as before a change lands
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release $(LOCKED) --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny $(LOCKED) check licenses bans sources; \
	else echo "cargo-deny is not installed: its checks are skipped (the tests check the licences)"; fi

peer: .peer/ready ## Make a Python environment with transformers and peft, for the comparisons in tests/peer

.peer/ready: tests/peer/requirements.txt
	$(PYTHON) -m venv .peer
	.peer/bin/pip install --quiet -r tests/peer/requirements.txt
	@touch $@

fixtures: peer ## Write tests/fixtures/llava anew, with transformers
	.peer/bin/python tests/peer/fixtures.py

parity: build peer ## Compare with transformers and peft on small checkpoints of several shapes
	.peer/bin/python tests/peer/parity.py

speed: build peer ## Time training and answering beside transformers and peft (10 minutes; the machine must be idle)
	.peer/bin/python tests/peer/speed.py

# A Python environment and a target folder of its own: the CPU build stays as it is. torch-sys finds that PyTorch through `PATH`.
WITH_CUDA = env -u LIBTORCH LIBTORCH_USE_PYTORCH=1 CARGO_TARGET_DIR="$(CURDIR)/target/cuda" PATH="$(CURDIR)/.cuda/bin:$$PATH"

# Tests hold figures of the CPU to the bit: a GPU is hidden from all but the one that compares it with the CPU.
cuda-check: .cuda/ready ## Build and test with PyTorch's CUDA build, with or without a GPU (7 GB of disk)
	$(WITH_CUDA) CUDA_VISIBLE_DEVICES= $(MAKE) test PYTHON=python3
	$(WITH_CUDA) $(CARGO) test --release $(LOCKED) --package coin-tests -- gpu::
	target/cuda/release/coin-host doctor

.cuda/ready: host/libtorch/fetch.py
	$(PYTHON) -m venv .cuda
	.cuda/bin/pip install --quiet --no-cache-dir torch==$$($(PYTHON) -c 'import sys; sys.path.insert(0, "host/libtorch"); import fetch; print(fetch.TORCH_VERSION)')
	@touch $@
