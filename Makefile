# `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Name of the test cluster, and more flags for `testbed up` (YES=--yes, WITH="--with metrics-server").
NAME ?= main
YES ?=
WITH ?=
TESTBED = cargo run --quiet -p tests --bin testbed -- --name $(NAME)

include $(wildcard make/*.mk)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: testbed-up
testbed-up: ## Build what is missing (asks first) and bring the test cluster up
	$(TESTBED) up $(YES) $(WITH)

.PHONY: testbed-down
testbed-down: ## Remove the test cluster and everything of it
	$(TESTBED) down
	$(TESTBED) verify-down

.PHONY: testbed-status
testbed-status: ## Show what runs of the test cluster
	$(TESTBED) status
