#!/usr/bin/env bash
# The op tests on a GPU under compute-sanitizer's four tools, all at once; a line each, then what was found. Exit 1 if anything was.
#   sanitize.sh [BUILD]      (build/cuda) or with COATI_BIN and COATI_PLUGIN_PATH set; logs go to $OUT, default a new folder in /tmp
# Programs: every op in fp32 and bf16 on one batch (`ops_against_ref TYPE small`), caches, dropout and flat buffers (`ops_sequences`),
# every family of attention kernels (`attention_check small`). The tools patch every kernel before its first launch: 13 to 27 s for caches and
# attention, minutes for the ops ($LIMIT seconds each, default 240).
set -u
build=${1:-build/cuda}
bin=${COATI_BIN:-$build/tests}
export COATI_PLUGIN_PATH=${COATI_PLUGIN_PATH:-$build/lib/coati/1} COATI_TEST_BACKEND=cuda OMP_NUM_THREADS=1
out=${OUT:-$(mktemp -d)}
limit=${LIMIT:-240}
check() { # TOOL NAME PROGRAM ARGS…
  local tool=$1 name=$2 start=$SECONDS log=$out/sanitize_$1_$2.log rc
  shift 2
  timeout "$limit" compute-sanitizer --tool "$tool" --error-exitcode 99 --print-limit 20 "$@" >"$log" 2>&1
  rc=$?
  printf '%-10s %-14s %3d s  exit %-3d %s\n' "$tool" "$name" $((SECONDS - start)) $rc "$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$log" | tail -n 1)"
  return $rc
}
failed=0 jobs=()
for tool in memcheck racecheck initcheck synccheck; do
  check $tool fp32 "$bin/ops_against_ref" fp32 small & jobs+=($!)
  check $tool bf16 "$bin/ops_against_ref" bf16 small & jobs+=($!)
  check $tool sequences "$bin/ops_sequences" & jobs+=($!)
  check $tool attention "$bin/attention_check" small & jobs+=($!)
done
for j in "${jobs[@]}"; do wait "$j" || failed=1; done
grep -hE '=========.*(Invalid|Uninitialized|Race|hazard|Barrier|Error:|error)' "$out"/sanitize_*.log | sort | uniq -c | sort -rn | head -20
exit $failed
