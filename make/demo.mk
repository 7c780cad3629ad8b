# The demo. What it leaves up belongs to this checkout: a second `make demo` goes on with it, FRESH=1 begins anew.
DEMO := demo-$(ID)

.PHONY: demo
demo: prepare ## The whole story on a real cluster on this machine; leaves it up (FRESH=1 begins anew, YES=1 asks nothing)
	@$(BIN)/demo --name $(DEMO) $(if $(FRESH),--fresh)

.PHONY: demo-down
demo-down: build ## Remove what the demo left
	$(BIN)/testbed --name $(DEMO) down
	$(BIN)/testbed --name $(DEMO) verify-down

# Twice in a row, and another in between that must not touch the first.
.PHONY: test-demo
test-demo: prepare ## The demo, again on what it left, and beside another one; nothing is left after it
	$(BIN)/demo --name demo-test-$(ID) --fresh
	$(BIN)/demo --name demo-other-$(ID) --fresh --down
	$(BIN)/testbed --name demo-other-$(ID) verify-down
	$(BIN)/demo --name demo-test-$(ID) --standing --down
	$(BIN)/testbed --name demo-test-$(ID) verify-down
