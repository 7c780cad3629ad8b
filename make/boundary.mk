# The boundary, in forms that are too long for `make test`.

HOSTILE := hostile-$(ID)
UPGRADE := upgrade-$(ID)
# The version that an upgrade is tried from: any revision of this repository.
FROM ?= 9db32a3
SECONDS_OF_FLOOD ?= 600

.PHONY: hostile
hostile: prepare image ## A control plane that sends all it can for ten minutes (SECONDS_OF_FLOOD=60): etcd, pods, removals, CPU
	$(BIN)/testbed --name $(HOSTILE) down && $(BIN)/testbed --name $(HOSTILE) up --yes
	$(BIN)/hostile --name $(HOSTILE) --seconds $(SECONDS_OF_FLOOD)
	$(BIN)/testbed --name $(HOSTILE) down

.PHONY: test-upgrade
test-upgrade: prepare image ## From the version before (FROM=revision) with its chart and agent to this one: nothing that runs may notice
	git worktree prune
	rm -rf $(CARGO_TARGET_DIR)/earlier && git worktree add --force --detach $(CARGO_TARGET_DIR)/earlier $(FROM)
	mkdir -p $(CARGO_TARGET_DIR)/earlier-target/debug
	cp -an $(BIN)/deps $(BIN)/build $(BIN)/.fingerprint $(CARGO_TARGET_DIR)/earlier-target/debug
	cd $(CARGO_TARGET_DIR)/earlier && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/earlier-target cargo build --workspace --bin pdp-agent
	$(BIN)/testbed --name $(UPGRADE) down && $(BIN)/testbed --name $(UPGRADE) up --yes
	$(BIN)/upgrade --name $(UPGRADE) --checkout $(CARGO_TARGET_DIR)/earlier --binary $(CARGO_TARGET_DIR)/earlier-target/debug/pdp-agent
	$(BIN)/testbed --name $(UPGRADE) down
	git worktree remove --force $(CARGO_TARGET_DIR)/earlier
