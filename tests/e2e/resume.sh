#!/usr/bin/env bash
# Runs that stop and go on give the same bits as runs that do not; runs that are killed can always go on.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1

check "whole run" "$run" -q train.ini run.output=whole
check "again, the same bits" "$run" -q train.ini run.output=again
check "same seed, same bits" same_run whole again
for k in 1 3 8 11; do # off and on a checkpoint, on the epoch's edge (8), past it
  check "stop after $k" "$run" -q train.ini run.output=part$k run.stop_after=$k
  check "go on from $k" "$run" -q train.ini run.output=part$k --resume
  check "$k steps, then the rest: the same bits" same_run whole part$k
done
# The same with held-out data, sparse metrics, and micro-steps filled by tokens.
more=(dataset.split=0.8 eval.every=3 eval.batches=1 log.every=2 batch.tokens=150)
check "whole run, evaluated" "$run" -q train.ini run.output=evaluated "${more[@]}"
check "evaluated every 3 steps" [ "$(grep -c eval_loss evaluated/metrics.jsonl)" -ge 4 ]
for k in 5 6; do
  check "evaluated, stop after $k" "$run" -q train.ini run.output=evaluated$k run.stop_after=$k "${more[@]}"
  check "evaluated, go on from $k" "$run" -q train.ini run.output=evaluated$k "${more[@]}"
  check "evaluated, $k steps, then the rest: the same bits" same_run evaluated evaluated$k
done
check "another seed differs" bash -c "'$run' -q train.ini run.output=other run.seed=7 && ! cmp -s whole/model/model.safetensors other/model/model.safetensors"

losses() { grep -o '"loss":[0-9.]*' "$1/metrics.jsonl" | cut -d: -f2; }
check "1 x 8" "$run" -q train.ini run.output=one batch.size=8 batch.accumulation=1
check "8 x 1" "$run" -q train.ini run.output=eight batch.size=1 batch.accumulation=8
close() { paste <(losses "$1") <(losses "$2") | awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > 2e-5 * $1) { print NR, $0; bad = 1 } n++ } END { exit bad || n < 10 }'; }
check "8 x 1 follows 1 x 8" close one eight
check "block checkpointing: the same losses" bash -c "'$run' -q train.ini run.output=ckpt model.checkpointing=block"
check "block checkpointing: the same bits" cmp whole/model/model.safetensors ckpt/model/model.safetensors

# kill -9 at ${KILLS} random moments, always onto the same output: each time it goes on, and the end is the same. A
# checkpoint at every step, so that kills fall into writing them; every second kill waits for that. `torn` counts the half
# ones that were left behind.
RANDOM=11
kills=${KILLS:-50} died=0 torn=0
now_ms() { echo $(($(date +%s%N) / 1000000)); }
began=$(now_ms)
check "a run with a checkpoint at every step" "$run" -q train.ini run.output=timed checkpoint.every=1
most=$((($(now_ms) - began) * 6 / 10)) # kills come between the first moment and 60 % of a run, however slow the machine is
for i in $(seq "$kills"); do
  delay=$((RANDOM * most / 32768))
  "$run" -q train.ini run.output=killed checkpoint.every=1 2>"$work/kill.log" &
  pid=$!
  sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
  if [ $((i % 2)) -eq 0 ]; then until compgen -G 'killed/checkpoints/*.tmp' >/dev/null || ! kill -0 $pid 2>/dev/null; do :; done; fi
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
  code=$?
  ls killed/checkpoints 2>/dev/null | grep -q '\.tmp$' && torn=$((torn + 1))
  if [ $code -eq 137 ]; then died=$((died + 1)); elif [ $code -ne 0 ]; then failed=$((failed + 1)); echo "killed run $i: exit $code" >&2; cat "$work/kill.log" >&2; fi
  if [ $code -eq 0 ]; then check "run after kills" same_run whole killed; rm -rf killed; fi
done
check "goes on after the last kill" "$run" -q train.ini run.output=killed checkpoint.every=1
check "after $died kills: the same bits" same_run whole killed
check "most were killed: $died of $kills" [ $((died * 2)) -gt "$kills" ]
check "some while writing a checkpoint: $torn" [ "$torn" -gt 0 ]
check "no half checkpoint is left" bash -c '! ls killed/checkpoints | grep -q "\.tmp$"'
echo "$died of $kills killed, $torn of them while writing a checkpoint"

# SIGTERM and SIGINT: a checkpoint first, then 143 and 130.
for s in TERM INT; do
  "$run" -q train.ini run.output=sig$s run.epochs=100000 checkpoint.every=0 2>/dev/null &
  pid=$!
  for _ in $(seq 100); do [ -s sig$s/metrics.jsonl ] && break; sleep 0.05; done
  kill -$s $pid; wait $pid; code=$?
  check "SIG$s: exit code" [ $code -eq $([ $s = TERM ] && echo 143 || echo 130) ]
  check "SIG$s: a checkpoint" bash -c "ls sig$s/checkpoints/step-*/state.json"
done
finish
