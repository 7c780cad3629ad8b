# Benchmarks: the agent as it ships, on a fresh test cluster.

.PHONY: bench
bench: image ## Measure acknowledgements against raw writes, and the agent at rest (about 6 min once built)
	cargo build --release -p control-plane-mock -p tests --bin control-plane-mock --bin pdpctl --bin testbed --bin bench
	$(CARGO_TARGET_DIR)/release/bench run
