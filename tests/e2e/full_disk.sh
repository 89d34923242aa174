#!/usr/bin/env bash
# The disk is full, wherever it hurts: exit 4 and the file's name, nothing half or written over, and with room again the run goes
# on to the same bits. FULL_DISK is the shared object that makes it so; POINTS says at how many moments of a run.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1

# full UNDER AFTER COMMAND...: files whose path holds UNDER have room for AFTER bytes.
full() {
  local under=$1 after=$2; shift 2
  FULL_DISK_UNDER=$under FULL_DISK_AFTER=$after FULL_DISK_REPORT=$work/bytes LD_PRELOAD=$FULL_DISK \
    ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0 "$@"
}
tell() { # tell WHAT UNDER AFTER COMMAND...: exit 4, "disk full", and a path that holds UNDER
  local what=$1; shift
  check "$what: exit 4" exits 4 "disk full" full "$@"
  check "$what: names the file" grep -qF -- "$1" out.log
}
whole_checkpoints() { # every step-N here is complete
  local c
  for c in "$1"/checkpoints/step-*; do
    [ -e "$c" ] || continue
    case $c in *.tmp) echo "left: $c"; return 1 ;; esac
    [ -s "$c/state.json" ] && [ -s "$c/config.ini" ] && "$COATI_BIN/coati-inspect" "$c" >/dev/null || { echo "half: $c"; return 1; }
  done
}

check "without limit" full "$work/whole/" 1000000000 "$run" -q train.ini run.output=whole
total=$(cat bytes)
check "its bytes were counted: $total" [ "$total" -gt 100000 ]
points=${POINTS:-16}
for i in $(seq "$points"); do
  after=$((total * i / (points + 1) - 1 + i * 37 % 11))
  tell "$after bytes" "$work/full$i" $after "$run" -q train.ini run.output=full$i
  check "$after bytes: checkpoints are whole" whole_checkpoints full$i
  check "$after bytes: no half model" sh -c "[ ! -e full$i/model ] || cmp full$i/model/model.safetensors whole/model/model.safetensors"
  check "$after bytes: goes on when there is room" "$run" -q train.ini run.output=full$i
  check "$after bytes: the same bits" same_run whole full$i
  rm -rf full$i
done

tell "no room at all" "$work/none" 0 "$run" -q train.ini run.output=none
check "no room at all: nothing there" [ ! -e none ]
# What is there already stays as it is.
for part in config.ini checkpoints/ model metrics.jsonl tensorboard/; do
  cp -r whole part
  tell "a longer run, $part" "$work/part/$part" 300 "$run" -q train.ini run.output=part run.epochs=3 checkpoint.every=100
  case $part in
    model) check "$part: the model is the earlier one" cmp part/model/model.safetensors whole/model/model.safetensors ;;
    *) check "$part: what was there is there" sh -c "[ -e part/model/config.json ] && cd part && cmp model/model.safetensors ../whole/model/model.safetensors && cmp checkpoints/step-16/weights.safetensors ../whole/checkpoints/step-16/weights.safetensors" ;;
  esac
  check "$part: with room it ends well" "$run" -q train.ini run.output=part run.epochs=3 checkpoint.every=100
  check "$part: the earlier lines are the earlier lines" cmp -n "$(wc -c <whole/metrics.jsonl)" whole/metrics.jsonl part/metrics.jsonl
  rm -rf part
done
tell "report.html" "$work/fresh/report.html" 100 "$run" -q train.ini run.output=fresh
check "report.html: the model is there" cmp fresh/model/model.safetensors whole/model/model.safetensors
finish
