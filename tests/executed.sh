#!/usr/bin/env bash
# executed.sh LIST COMMAND...: runs the command and fails if it fails, or if the tests that passed are not exactly those in LIST.
# executed.sh --accept: takes what ran last as the lists.
set -euo pipefail
cd "$(dirname "$0")/.."
last="${CARGO_TARGET_DIR:-target}/executed"
if [ "${1:-}" = --accept ]; then
  cp -v "$last"/*.txt tests/lists/
  exit
fi
list=$1
shift
mkdir -p "$last" tests/lists
output="$last/$(basename "$list" .txt).log"
ran="$last/$(basename "$list")"
echo "+ $*"
code=0
"$@" 2>&1 | tee "$output" || code=$?
sed -nE 's/^test (.*) \.\.\. ok$/\1/p' "$output" | LC_ALL=C sort >"$ran"
if [ "$code" != 0 ]; then
  echo "failed: $* (output in $output)" >&2
  exit "$code"
fi
if ! diff -u "$list" "$ran" >&2; then
  echo "The tests that ran (+) are not those of $list (-). If that is meant: make test-lists, and commit." >&2
  exit 1
fi
