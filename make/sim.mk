# The simulation: a data plane and its control plane in one process, on a virtual clock.
SEEDS ?= 10000

.PHONY: sim
sim: ## Simulate with faults, SEEDS=10000 (SEED=17 runs one and prints its trace; MISTAKE=FloorIgnored builds one in)
	$(if $(SEED),SIM_SEED=$(SEED) $(if $(MISTAKE),SIM_MISTAKE=$(MISTAKE)),SIM_SEEDS=$(SEEDS)) cargo test -p simulation --test sim every_invariant -- --nocapture

# What CI runs beside the 1,500 seeds of test-fast.
.PHONY: test-sim
test-sim:
	SIM_SEEDS=10000 cargo test --workspace --test sim every_invariant -- --nocapture

.PHONY: mistakes
mistakes: ## Show by which invariant, and after how many seeds, the simulation finds each deliberate mistake (MISTAKE=FloorIgnored SEEDS=5000 looks for one)
	$(if $(MISTAKE),SIM_MISTAKE=$(MISTAKE) SIM_SEEDS=$(SEEDS)) cargo test -p simulation --test sim every_mistake -- --nocapture
