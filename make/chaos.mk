# Chaos: everything is broken on a fresh test cluster while work goes on; then the proof that nothing was lost or done twice.

.PHONY: chaos
chaos: prepare failpoints ## Break everything for an hour and prove that nothing was lost or done twice (SEED=7 replays a schedule, FORM=--short is 5 min)
	$(if $(SEED),SEED=$(SEED)) $(BIN)/chaos --name chaos-$(ID) $(FORM)
