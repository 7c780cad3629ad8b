.PHONY: image image-from-source image-archive ca-roots
image: ## Build the agent's image from a binary compiled here (buildah, static, from scratch)
	.ci/image.sh prebuilt
image-from-source: ## Build the agent's image with its own toolchain stage (TOOLCHAIN_IMAGE, or a stand-in)
	.ci/image.sh source
image-archive: ## Print where both leave the image
	@echo $(CARGO_TARGET_DIR)/pdp-agent.oci.tar
ca-roots: ## Take Mozilla's newest list of CAs for the image (config/ca-roots.pem) and its hash
	.ci/ca-roots.sh
