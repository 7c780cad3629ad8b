# Tests. The lists of executed tests are committed: a test that silently stops to run fails the build.

# Beside the checkout, so that a clean clone is warm.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/pdp-agent/target
BIN := $(CARGO_TARGET_DIR)/debug
E2E := e2e

.PHONY: test
test: check test-fast test-cluster test-demo ## Everything that CI runs: test-fast, end-to-end tests on a real cluster, the demo

.PHONY: test-fast
test-fast: ## Tests that need no cluster (≤ 3 min once built)
	tests/executed.sh tests/lists/fast.txt cargo test --workspace --exclude tests
	tests/executed.sh tests/lists/fast-tests.txt cargo test -p tests --lib --test sim

.PHONY: test-cluster
test-cluster: build ## End-to-end tests on a fresh test cluster
	$(BIN)/testbed --name $(E2E) down
	$(BIN)/testbed --name $(E2E) up --yes
	$(MAKE) --no-print-directory image-from-source
	PDP_TESTBED_NAME=$(E2E) tests/executed.sh tests/lists/cluster.txt \
	  cargo test -p tests --test chart --test testbed --test e2e --test operator --test rights -- --test-threads=4
	PDP_TESTBED_NAME=$(E2E) tests/executed.sh tests/lists/outage.txt \
	  cargo test -p tests --test outage -- --test-threads=1
	PDP_TESTBED_NAME=$(E2E) tests/executed.sh tests/lists/testbed-faults.txt cargo test -p tests --test testbed_faults
	$(BIN)/testbed --name $(E2E) down
	$(BIN)/testbed --name $(E2E) verify-down

.PHONY: test-demo
test-demo: build ## The demo, and that nothing is left after it
	$(BIN)/demo --down
	$(BIN)/testbed --name demo verify-down

.PHONY: test-lists
test-lists: ## Write the committed lists of tests anew, from what ran last
	tests/executed.sh --accept

.PHONY: check
check: ## Format, lints, purity of the protocol
	cargo fmt --all -- --check
	RUSTFLAGS="-Dwarnings" CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/check cargo clippy --workspace --all-targets --quiet

.PHONY: build
build:
	cargo build --workspace --bins

.PHONY: demo
demo: build ## The whole story on a real cluster on this machine; leaves it up
	$(BIN)/demo

.PHONY: demo-down
demo-down: build ## Remove what the demo left
	$(BIN)/testbed --name demo down
	$(BIN)/testbed --name demo verify-down
