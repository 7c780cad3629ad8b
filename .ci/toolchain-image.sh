#!/bin/bash
# Makes a stand-in for the toolchain image, where none can be pulled: an empty root into which this machine's compiler is mounted
# while the image is built. Sourced with the image's name; sets toolchain_volumes, the arguments for `buildah bud`.
set -euo pipefail
name="${1:?usage: source .ci/toolchain-image.sh NAME}"
cargo_home="${CARGO_HOME:-$HOME/.cargo}"
rustup_home="${RUSTUP_HOME:-$HOME/.rustup}"
# Usually below cargo_home, but a machine may keep its compilers elsewhere.
cargo_bin="$(dirname "$(command -v cargo)")"
pinned="$(sed -n 's/^channel = "\(.*\)"/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../rust-toolchain.toml")"

container="$(buildah from scratch)"
folder="$(buildah mount "$container")"
mkdir -p "$folder"/{usr,etc/ssl,etc/alternatives,tmp,proc,sys,dev,root,work,run,var/tmp}
mkdir -p "$folder/$cargo_home" "$folder/$cargo_bin" "$folder/$rustup_home"
chmod 1777 "$folder/tmp" "$folder/var/tmp"
for link in bin sbin lib lib64; do
    [ -L "/$link" ] && cp -a "/$link" "$folder/$link"
done
cp /etc/passwd /etc/group "$folder/etc/"
buildah umount "$container" >/dev/null
buildah config --env CARGO_HOME="$cargo_home" --env RUSTUP_HOME="$rustup_home" --env RUSTUP_TOOLCHAIN="$pinned" \
    --env HOME=/root --env PATH="$cargo_bin:/usr/local/bin:/usr/bin:/bin" "$container"
buildah commit --quiet --rm "$container" "$name" >/dev/null

# shellcheck disable=SC2034 # read by image.sh
toolchain_volumes=(--volume /usr:/usr:ro --volume /etc/ssl:/etc/ssl:ro --volume /etc/alternatives:/etc/alternatives:ro
    --volume "$cargo_home:$cargo_home" --volume "$cargo_bin:$cargo_bin:ro" --volume "$rustup_home:$rustup_home:ro")
