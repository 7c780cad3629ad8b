.PHONY: image image-from-source
image: ## Build the agent's image from a binary compiled here (buildah, static, from scratch)
	.ci/image.sh prebuilt
image-from-source: ## Build the agent's image with its own toolchain stage (TOOLCHAIN_IMAGE, or a stand-in)
	.ci/image.sh source
