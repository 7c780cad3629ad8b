# Tests. The lists of executed tests are committed: a test that silently stops to run fails the build.

# Snapshots are those of this checkout, wherever a test was compiled.
export INSTA_WORKSPACE_ROOT := $(CURDIR)
# Test clusters of this checkout's tests only: never one that a person made.
E2E := e2e-$(ID)
OUTAGE := e2e-outage-$(ID)
CHAOS := e2e-chaos-$(ID)
# A failing test shows what it saw; where an error was made inside is of no use there.
export RUST_LIB_BACKTRACE := 0

# Root on Debian 12 makes clusters of its own. Elsewhere an existing one serves, for what needs no more than its API.
ifeq ($(shell id -u),0)
READY := prepare
ON_A_CLUSTER := test-image test-e2e test-serial test-demo
else
READY := build
ON_A_CLUSTER := test-elsewhere
endif

.PHONY: test
# All seeds come in test-sim.
test: export SIM_SEEDS := 200
test: ## Everything that CI runs: test-fast, 10,000 seeds, the end-to-end tests on a real cluster, the demo; and how long each took
	+tests/timed.sh $(READY) check test-fast test-sim $(ON_A_CLUSTER)

# One set of features for all runs, so that nothing is compiled twice.
FAST := --lib --bins --test api --test link --test pdpctl --test goldens --test purity --test schema --test sessions --test vectors --test sim --test supply --test promises --test layout --test agreement
CLUSTER := --test chart --test testbed --test e2e --test model --test operator --test rights
# A cluster where no agent was before; and that nothing of it is left.
fresh = $(BIN)/testbed --name $(1) down && $(BIN)/testbed --name $(1) up --yes
gone = $(BIN)/testbed --name $(1) down && $(BIN)/testbed --name $(1) verify-down

.PHONY: test-fast
test-fast: export RUST_TEST_THREADS := 6
test-fast: ## Tests that need no cluster; many of them wait
	tests/executed.sh tests/lists/fast.txt cargo test --workspace $(FAST)

.PHONY: test-cluster test-image test-e2e
test-cluster: test-image test-e2e test-serial ## End-to-end tests on fresh test clusters

test-image: prepare
	$(MAKE) --no-print-directory image-from-source

test-e2e: prepare failpoints
	$(call fresh,$(E2E))
	PDP_TESTBED_NAME=$(E2E) tests/executed.sh tests/lists/cluster.txt cargo test --workspace $(CLUSTER) -- --test-threads=4

# They mostly wait, and each meets everybody on its cluster at once: one after the other inside, two side by side on clusters of their own.
.PHONY: test-serial
test-serial: prepare failpoints ## Bad surroundings, long outages, the short chaos and faults of the test cluster, with the image built last
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-adverse test-outage test-chaos test-faults

.PHONY: test-adverse test-outage test-chaos
test-adverse:
	$(call fresh,$(E2E))
	PDP_TESTBED_NAME=$(E2E) tests/executed.sh tests/lists/adverse.txt cargo test --workspace --test adverse -- --test-threads=1
	$(call gone,$(E2E))
test-outage:
	$(call fresh,$(OUTAGE))
	PDP_TESTBED_NAME=$(OUTAGE) tests/executed.sh tests/lists/outage.txt cargo test --workspace --test outage -- --test-threads=1
	$(call gone,$(OUTAGE))
test-chaos:
	PDP_TESTBED_NAME=$(CHAOS) tests/executed.sh tests/lists/chaos.txt cargo test --workspace --test chaos -- --show-output
	$(call gone,$(CHAOS))

.PHONY: test-elsewhere
test-elsewhere: ## What can be tested on the cluster of KUBECONFIG (kind, k3d); names what cannot
	@test -n "$$KUBECONFIG" || { echo "KUBECONFIG names no cluster: set it, or run as root on Debian 12, which makes clusters of its own" >&2; exit 1; }
	tests/executed.sh tests/lists/elsewhere.txt cargo test --workspace --test chart --test rights -- --test-threads=4
	@echo "Not run, since they need the test bed (root on Debian 12):"
	@sort tests/lists/{cluster,adverse,outage,chaos,faults}.txt | comm -23 - <(sort tests/lists/elsewhere.txt) | sed 's/^/  /'

.PHONY: test-faults
test-faults: ## Every fault of the test cluster itself
	tests/executed.sh tests/lists/faults.txt cargo test --workspace --test testbed_faults

.PHONY: test-lists
test-lists: ## Write the committed lists of tests anew, from what ran last
	tests/executed.sh --accept

.PHONY: check
check: ## Format, lints, how the code is laid out, and what deny.toml says of all dependencies
	cargo fmt --all -- --check
	CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/check cargo clippy --workspace --all-targets --quiet -- -Dwarnings
	CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/check cargo clippy --package pdp-agent --features failpoints --lib --bins --quiet -- -Dwarnings
	cargo test --workspace --test layout --quiet
	.ci/deny.sh

.PHONY: advisories
advisories: ## Take RustSec's newest advisories (config/advisories.tar.gz; ADVISORY_DB: another git address), and check
	.ci/deny.sh refresh

# The agent that tests may make do otherwise; a binary of its own, never shipped.
.PHONY: failpoints
failpoints:
	cargo build --workspace --bin pdp-agent-failpoints --features pdp-agent/failpoints
