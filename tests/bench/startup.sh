#!/usr/bin/env bash
# How long programs take to start: --help of each, and from exec to the end of a run of one step of stories260K (reading the
# model, tokenizer and data, planning, one step, its line in metrics.jsonl, exit; no checkpoint, no model written). Prints the
# median, shortest and longest of 20 starts in milliseconds; exit status 1 if a median is above 20 ms or 500 ms.
#   tests/bench/startup.sh SHARED_DATA     (programs are taken from build/release, or $COATI_BIN)
set -euo pipefail
src=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
data=$(cd "${1:?which folder holds the shared data?}" && pwd)
bin=${COATI_BIN:-$src/build/release/bin}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
bad=0

measure() { # measure LIMIT_MS NAME COMMAND...
  local limit=$1 name=$2 i began times=(); shift 2
  "$@" >/dev/null 2>&1 # once, so that files are in memory
  for i in $(seq 20); do
    began=$(date +%s%N)
    "$@" >/dev/null 2>&1
    times+=($((($(date +%s%N) - began) / 10000)))
  done
  mapfile -t times < <(printf '%s\n' "${times[@]}" | sort -n)
  awk -v name="$name" -v a="${times[9]}" -v b="${times[10]}" -v lo="${times[0]}" -v hi="${times[19]}" -v limit="$limit" \
    'BEGIN { m = (a + b) / 200; printf "%-28s %7.1f ms (%.1f to %.1f), limit %d\n", name, m, lo / 100, hi / 100, limit; exit m > limit }' || bad=1
}
cat > one.ini <<INI
[run]
output = out
max_steps = 1
save_model = 0
[model]
path = $data/models/stories260K
[dataset]
path = $data/sft/llamafactory_alpaca_en_demo.json
max_len = 512
[batch]
size = 4
accumulation = 1
[checkpoint]
every = never
[log]
samples = 0
INI
for program in "$bin"/coati-*; do measure 20 "$(basename "$program") --help" "$program" --help; done
measure 500 "first step of stories260K" "$bin/coati-run" -q --overwrite one.ini
grep -q '"loss"' out/metrics.jsonl || { echo "no step was made" >&2; exit 1; }
exit $bad
