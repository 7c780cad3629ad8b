#!/usr/bin/env bash
# timed.sh TARGET...: makes the targets one after the other, and says at the end, or where it broke, how long each took.
set -uo pipefail
cd "$(dirname "$0")/.."
rows=()
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }
say() {
  printf '\n%-20s %8s\n' part 'min:s'
  printf '%s\n' "${rows[@]}"
  printf '%-20s %8s\n' all "$(clock $SECONDS)"
}
for target; do
  begin=$SECONDS
  code=0
  "${MAKE:-make}" --no-print-directory "$target" || code=$?
  end=''
  [ $code = 0 ] || end='  failed'
  rows+=("$(printf '%-20s %8s%s' "$target" "$(clock $((SECONDS - begin)))" "$end")")
  if [ $code != 0 ]; then
    say >&2
    exit $code
  fi
done
say
