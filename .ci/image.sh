#!/bin/bash
# Builds the agent's image with buildah and checks it.
# usage: .ci/image.sh prebuilt|source
#
# prebuilt  compiles on this machine and packs the binary
# source    compiles in TOOLCHAIN_IMAGE (default: a stand-in made of this machine's toolchain, since base images may be out of reach)
#
# The result is an OCI archive for `skopeo copy`, pdp-agent.oci.tar in CARGO_TARGET_DIR, and beside it pdp-agent.cdx.json, the list of
# what the binary is made of (CycloneDX). Buildah's storage lies beside them.
# What the stand-in compiles of other people's crates is kept for all checkouts of this machine, in ~/.cache/pdp-agent-image.
set -euo pipefail
how="${1:?usage: .ci/image.sh prebuilt|source}"
root="$(cd "$(dirname "$0")/.." && pwd)"
target="${CARGO_TARGET_DIR:-$root/target}"
cache="$target/image"
version="$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)"
revision="$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)"
# The time of the commit, so that the same commit gives the same digest.
time="${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}"
image="localhost/pdp-agent:$version"
limit=$((10 * 1000 * 1000))
started=$SECONDS
mkdir -p "$cache"

for tool in buildah skopeo; do
    command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install buildah skopeo" >&2; exit 1; }
done

driver="$(buildah info --format '{{.store.GraphDriverName}}')"
printf '[storage]\ndriver = "%s"\ngraphroot = "%s"\nrunroot = "%s"\n' "$driver" "$cache/storage" "$cache/run" >"$cache/storage.conf"
export CONTAINERS_STORAGE_CONF="$cache/storage.conf"
# Builds use the machine's own network; else the choice of an earlier run, with other packages, would be asked for.
printf '[network]\nnetwork_backend = "cni"\n' >"$cache/containers.conf"
export CONTAINERS_CONF="$cache/containers.conf"
# The archive is what stays; layers of a compiler's stage are large, and mounts would outlive the build.
trap '{ buildah umount --all; buildah rm --all; buildah rmi --all --force; umount "$cache/storage/overlay"; } >/dev/null 2>&1 || true' EXIT

# Whom the image trusts is what was committed, and nothing of the machine that builds it.
(cd "$root/config" && sha256sum --check --quiet ca-roots.sha256)

arguments=(--isolation chroot --timestamp "$time" --build-arg VERSION="$version" --build-arg REVISION="$revision"
    --build-arg BINARY_FROM="$how" --tag "$image")
case "$how" in
    prebuilt)
        "$root/.ci/build-binary.sh" "$cache/target"
        context="$cache/context"
        rm -rf "$context" && mkdir -p "$context"
        cp "$cache/target/x86_64-unknown-linux-gnu/release/pdp-agent" "$root/LICENSE" "$root/config/ca-roots.pem" "$context/"
        ;;
    source)
        context="$root"
        if [ -z "${TOOLCHAIN_IMAGE:-}" ]; then
            TOOLCHAIN_IMAGE=localhost/pdp-agent-toolchain
            # shellcheck source=/dev/null
            source "$root/.ci/toolchain-image.sh" "$TOOLCHAIN_IMAGE"
            compiled="$HOME/.cache/pdp-agent-image"
            mkdir -p "$compiled"
            exec {lock}>"$compiled.lock"
            flock "$lock"
            arguments+=("${toolchain_volumes[@]}" --volume "$compiled:/work/target")
        fi
        arguments+=(--build-arg TOOLCHAIN_IMAGE="$TOOLCHAIN_IMAGE")
        ;;
    *) echo "unknown way $how: prebuilt or source" >&2; exit 2 ;;
esac

buildah bud "${arguments[@]}" --file "$root/Dockerfile" "$context"

archive="$target/pdp-agent.oci.tar"
rm -f "$archive"
skopeo copy --quiet "containers-storage:$image" "oci-archive:$archive:$image"
manifest="$(skopeo inspect --raw "oci-archive:$archive:$image")"
config="$(skopeo inspect --config "oci-archive:$archive:$image")"
compressed="$(echo "$manifest" | jq '[.layers[].size] | add')"
[ "$(echo "$config" | jq -r .config.User)" = 65532:65532 ] || { echo "the image runs as another user than 65532" >&2; exit 1; }

# The image must start with nothing but itself.
container="$(buildah from "$image")"
root_folder="$(buildah mount "$container")"
if file "$root_folder/pdp-agent" | grep -q 'interpreter'; then
    echo "the binary is not static" >&2
    exit 1
fi
if grep -q FAILPOINT_ "$root_folder/pdp-agent"; then
    echo "the binary has failpoints, which are for tests only" >&2
    exit 1
fi
cmp "$root/config/ca-roots.pem" "$root_folder/etc/ssl/certs/ca-certificates.crt" ||
    { echo "the image has other CA roots than config/ca-roots.pem" >&2; exit 1; }
chroot --userspec=65532:65532 "$root_folder" /pdp-agent --version

bill="$target/pdp-agent.cdx.json"
SOURCE_DATE_EPOCH="$time" "$root/.ci/sbom.sh" >"$bill"

echo "digest      $(skopeo inspect --format '{{.Digest}}' "oci-archive:$archive:$image")"
echo "archive     $archive"
echo "made of     $bill (sha256:$(sha256sum "$bill" | cut -d ' ' -f 1))"
echo "binary      $(stat -c %s "$root_folder/pdp-agent") bytes"
echo "compressed  $compressed bytes (at most $limit)"
echo "took        $((SECONDS - started)) s"
[ "$compressed" -le "$limit" ] || { echo "the image is larger than it may be" >&2; exit 1; }
