# lib.sh: a tiny run to try things on, and checks that count. Sourced by the other scripts here.
# COATI_BIN: the programs; COATI_SRC: the source folder.
set -uo pipefail
passed=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run=$COATI_BIN/coati-run
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} # tests share the cores

check() { # check WHAT COMMAND...
  local what=$1; shift
  if "$@" >"$work/check.log" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "failed: $what" >&2; cat "$work/check.log" >&2; fi
}
finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# A small run over 60 records: 8 steps an epoch, the last one half as large.
cat > "$work/train.ini" <<INI
[run]
output = out
epochs = 2
[model]
path = $COATI_SRC/tools/quickstart/model
init = random
[dataset]
path = $COATI_SRC/tools/quickstart/train.json
max_records = 60
template = none
max_len = 48
[batch]
size = 4
accumulation = 2
[optimizer]
lr = 1e-3
weight_decay = 0.01
[checkpoint]
every = 3
INI

# What must agree to the bit: everything but times and memory.
same_metrics() {
  diff <(sed -E 's/"(tokens_per_s|step_s|data_wait_s|mem_[a-z_]*)":[0-9.]+,?//g' "$1/metrics.jsonl") \
       <(sed -E 's/"(tokens_per_s|step_s|data_wait_s|mem_[a-z_]*)":[0-9.]+,?//g' "$2/metrics.jsonl")
}
same_run() { same_metrics "$1" "$2" && cmp "$1/model/model.safetensors" "$2/model/model.safetensors"; }
exits() { # exits CODE TEXT COMMAND...: that exit code, and a message that holds TEXT
  local code=$1 text=$2 got; shift 2
  "$@" >"$work/out.log" 2>&1; got=$?
  [ "$got" -eq "$code" ] || { echo "exit $got, want $code"; cat "$work/out.log"; return 1; }
  grep -qF -- "$text" "$work/out.log" || { echo "no \"$text\" in:"; cat "$work/out.log"; return 1; }
}
