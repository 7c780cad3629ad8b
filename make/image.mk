.PHONY: image image-from-source image-archive
image: ## Build the agent's image from a binary compiled here (buildah, static, from scratch)
	.ci/image.sh prebuilt
image-from-source: ## Build the agent's image with its own toolchain stage (TOOLCHAIN_IMAGE, or a stand-in)
	.ci/image.sh source
image-archive: ## Print where both leave the image
	@echo $(CARGO_TARGET_DIR)/pdp-agent.oci.tar
