#!/bin/bash
# Takes Mozilla's newest list of certificate authorities, as the Python package certifi ships it, into config/ca-roots.pem, and its
# hash beside it. Look at the difference before you commit it: who is on the list may impersonate a control plane without a caBundle.
set -euo pipefail
cd "$(dirname "$0")/../config"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$scratch" certifi
wheel="$(basename "$scratch"/certifi-*.whl)"
python3 -m zipfile -e "$scratch/$wheel" "$scratch/unpacked"
version="${wheel#certifi-}"
{
    echo "# Mozilla's certificate authorities for TLS servers: the roots of the agent's image (/etc/ssl/certs/ca-certificates.crt)."
    echo "# Source: cacert.pem of the Python package certifi ${version%%-*} (MPL-2.0), taken on $(date --utc +%F) by \`make ca-roots\`."
    cat "$scratch/unpacked/certifi/cacert.pem"
} >ca-roots.pem
sha256sum ca-roots.pem >ca-roots.sha256
echo "config/ca-roots.pem: certifi ${version%%-*}, $(grep -c 'BEGIN CERTIFICATE' ca-roots.pem) authorities"
