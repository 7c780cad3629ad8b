#!/bin/sh
# Compiles the agent as it ships: static, for one target, with paths that do not depend on the machine.
# usage: .ci/build-binary.sh TARGET_FOLDER
set -eu
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="$1"
cargo_home="${CARGO_HOME:-$HOME/.cargo}"
# Only this target's flags: build scripts and macros stay dynamic.
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$PWD=/src --remap-path-prefix=$cargo_home=/cargo"
export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$cargo_home=/cargo"
exec cargo build --release --locked --target x86_64-unknown-linux-gnu --package pdp-agent --bin pdp-agent
