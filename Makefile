# `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Two checkouts, or two users, on one machine never meet: what this one makes outside of itself carries these letters.
ID := $(shell printf %s '$(CURDIR)' | sha256sum | cut -c1-6)
# Outside the checkout, beside those of other checkouts: a new one begins with what another has compiled of other people's crates.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/pdp-agent/$(ID)
BIN := $(CARGO_TARGET_DIR)/debug

# Name of the test cluster, and more flags for `testbed up` (WITH="--with metrics-server"). YES=1 is never asked anything.
NAME ?= main-$(ID)
WITH ?=
YES ?=
TESTBED = $(BIN)/testbed --name $(NAME)

# Checks this machine, asks, installs and builds what is missing. With --cluster also what a test cluster needs.
PREPARE = command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.95 or newer (rustup)" >&2; exit 1; }; \
	cargo run --quiet --package prepare -- $(if $(YES),--yes)

include $(wildcard make/*.mk)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build prepare
build: ## Compile all programs
	@$(PREPARE)
prepare: ## Check this machine; install and build all that a test cluster on it needs
	@$(PREPARE) --cluster

.PHONY: testbed-up
testbed-up: prepare ## Bring the test cluster up, after building what is missing (asks first)
	$(TESTBED) up $(WITH)

.PHONY: testbed-down
testbed-down: build ## Remove the test cluster and everything of it
	$(TESTBED) down
	$(TESTBED) verify-down

.PHONY: testbed-status
testbed-status: build ## Show what runs of the test cluster
	$(TESTBED) status
