#!/usr/bin/env bash
# What every program does: --help in milliseconds, --version, -v and -q, exit code 2 and a hint for a wrong command line.
. "$COATI_SRC/tests/e2e/lib.sh"
cd "$work" || exit 1

# Milliseconds of the fastest of 15 runs: what it takes, not what else the machine does.
fastest_ms() {
  local best=999999 from to
  for _ in $(seq 15); do
    from=$(date +%s%N); "$@" >/dev/null 2>&1; to=$(date +%s%N)
    [ $((to - from)) -lt $((best * 1000000)) ] && best=$(((to - from + 999999) / 1000000))
  done
  echo $best
}

n=0
for program in "$COATI_BIN"/*; do
  [ -f "$program" ] && [ -x "$program" ] || continue
  name=$(basename "$program") n=$((n + 1))
  check "$name --help" sh -c "'$program' --help >help.txt 2>err.txt && [ -s help.txt ] && [ ! -s err.txt ]"
  check "$name --help: how to call it" grep -qF "usage: $name" help.txt
  for option in -v -q --help --version; do check "$name --help: $option" grep -qE -- "(^|[^-a-z])$option([^-a-z]|$)" help.txt; done
  ms=$(fastest_ms "$program" --help)
  check "$name --help: $ms ms, at most $HELP_MS" [ "$ms" -le "$HELP_MS" ]
  for version in "--version" "-v --version" "-q --version"; do
    check "$name $version" [ "$("$program" $version 2>&1)" = "$name $COATI_VERSION" ]
  done
  check "$name -v --help" sh -c "'$program' -v --help | cmp - help.txt"
  check "$name: an unknown option" exits 2 "try" "$program" --no-such-option
  check "$name: names it" grep -qF -- "no-such-option" out.log
  check "$name: says nothing of itself on stdout" sh -c "'$program' --no-such-option 2>/dev/null | cmp - /dev/null"
done
check "programs were found" [ "$n" -ge 5 ]
finish
