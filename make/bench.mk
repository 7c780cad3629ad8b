# Benchmarks: the agent as it ships, on a fresh test cluster; the control-plane mock under many simulated agents.

AGENTS ?= 20000

BENCH_PROGRAMS = cargo build --release -p control-plane-mock -p pdpctl -p tests --bin control-plane-mock --bin pdpctl --bin testbed --bin bench

.PHONY: bench bench-agents
bench: prepare image ## All benchmarks, with tables beside targets and peers (about 15 min once built; BENCH="--cuts 5 --quiet 600")
	$(BENCH_PROGRAMS)
	$(CARGO_TARGET_DIR)/release/bench run --name bench-$(ID) --agents $(AGENTS) $(BENCH)

bench-agents: ## AGENTS=20000 simulated agents on two gateway processes: memory, handshakes, the storm after a restart
	$(BENCH_PROGRAMS)
	$(CARGO_TARGET_DIR)/release/bench agents --agents $(AGENTS)
