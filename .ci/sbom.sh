#!/bin/bash
# Prints what the agent's binary is made of, as CycloneDX 1.6 in JSON: each crate with version, licence, hash of its package, and who
# asks for whom. The same commit gives the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
time="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
cargo tree --locked --package pdp-agent --target x86_64-unknown-linux-gnu --edges normal,build --prefix depth --format $'\t{p}\t{l}' |
    jq --raw-input --null-input --rawfile lock Cargo.lock --argjson time "$time" '
# name@version → hash, of the packages in Cargo.lock that come from a registry.
([$lock | split("[[package]]")[] | {key: "\(capture("name = \"(?<n>.*)\"").n)@\(capture("version = \"(?<v>.*)\"").v)",
    value: capture("checksum = \"(?<c>.*)\"").c}] | from_entries) as $hashes
# Lines of the tree, each with its depth; what hangs below a crate that was shown before is not shown again: it ends in (*).
| [inputs | split("\t") | {depth: .[0] | tonumber, licence: .[2] | sub(" \\(\\*\\)$"; "") | gsub("/"; " OR ") | gsub(" +OR +"; " OR "),
    crate: .[1] | capture("^(?<name>[^ ]+) v(?<version>[^ ]+)")}] as $lines
| def purl: "pkg:cargo/\(.crate.name)@\(.crate.version)";
def component: {type: "library", "bom-ref": purl, name: .crate.name, version: .crate.version, purl: purl,
    licenses: [{expression: .licence}], hashes: [$hashes["\(.crate.name)@\(.crate.version)"] // empty | {alg: "SHA-256", content: .}]};
(reduce $lines[] as $line ({path: [], asks: {}};
    ($line | purl) as $ref | .path = .path[:$line.depth] + [$ref] | .asks[$ref] += []
    | if $line.depth > 0 then .asks[.path[$line.depth - 1]] += [$ref] else . end) | .asks) as $asks
| {bomFormat: "CycloneDX", specVersion: "1.6", version: 1,
   metadata: {timestamp: ($time | todate), component: ($lines[0] | component | .type = "application")},
   components: ($lines[1:] | map(component) | unique_by(.purl)),
   dependencies: ($asks | to_entries | map({ref: .key, dependsOn: (.value | unique)}))}'
