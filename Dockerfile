# The agent's image: one static binary, the CA roots of config/ca-roots.pem, the licence. No shell, no packages, no root.
#
#   buildah bud --build-arg BINARY_FROM=source .              compiles here (the default)
#   buildah bud --build-arg BINARY_FROM=prebuilt FOLDER       takes FOLDER/{pdp-agent,ca-roots.pem,LICENSE}
#
# `make image` and `make image-from-source` do both with the right arguments.
ARG TOOLCHAIN_IMAGE=docker.io/library/rust:1.95-bookworm
ARG BINARY_FROM=source

FROM ${TOOLCHAIN_IMAGE} AS source
WORKDIR /src
COPY . .
# The same command as outside of an image, so that both make the same binary.
# What was compiled earlier may be kept in the target folder, and of newer sources than these: their times do not count.
RUN find . -name '*.rs' -exec touch {} + \
 && ./.ci/build-binary.sh /work/target \
 && mkdir -p /out \
 && cp /work/target/x86_64-unknown-linux-gnu/release/pdp-agent LICENSE config/ca-roots.pem /out/

FROM scratch AS prebuilt
COPY pdp-agent LICENSE ca-roots.pem /out/

FROM ${BINARY_FROM} AS files

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pdp-agent" \
      org.opencontainers.image.description="Private data-plane agent for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=files /out/ca-roots.pem /etc/ssl/certs/ca-certificates.crt
COPY --from=files /out/LICENSE /LICENSE
COPY --from=files /out/pdp-agent /pdp-agent
# Numeric, so that the kubelet can check runAsNonRoot.
USER 65532:65532
ENTRYPOINT ["/pdp-agent"]
