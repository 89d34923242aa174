#!/bin/bash
# gemini.sh: gemini on one GPU: LLaMA-7B's shape in full, T 2048, bf16, under device budgets; beside it the same plans without updates; zero2 beside naive.
#   gemini.sh [SECONDS]   starts nothing new after so many (default 160), and ends each run 60 s later at the latest
: "${OUT:=/tmp}" "${COATI_BIN:=$PWD/bin}" "${COATI_SRC:=$PWD}"
C=$COATI_SRC/tests/bench/configs; [ -d "$C" ] || C=configs
LIMIT=${1:-160}; T=$OUT/gemini.txt; : > $T; START=$SECONDS
[ $(nproc) -gt 16 ] && CORES='taskset -c 0-15' # as many as a host of one GPU has: figures are comparable
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
# run NAME TIMEOUT ARGS…: a line a count of sequences: tokens/s, step, device and host GiB (planned, seen), seconds in all, loss
run() {
  local n=$1 lim=$2 s=$((SECONDS-START)) low=999999 a rc p full; shift 2
  [ $s -gt $LIMIT ] && { echo "$n skipped at $s s" | tee -a $T; return; }
  [ $lim -gt $((LIMIT+60-s)) ] && lim=$((LIMIT+60-s))
  full=$(awk '/MemAvailable/ {print int($2/1024)}' /proc/meminfo)
  timeout $lim $CORES $COATI_BIN/coati-bench --backend cuda --dtype bf16 "$@" >$OUT/g_$n.json 2>$OUT/g_$n.log & p=$!
  while kill -0 $p 2>/dev/null; do a=$(awk '/MemAvailable/ {print int($2/1024)}' /proc/meminfo); [ $a -lt $low ] && low=$a; sleep 0.5; done
  wait $p; rc=$?
  if [ -s $OUT/g_$n.json ]; then python3 - $n $rc $((SECONDS-START-s)) $((full-low)) $OUT/g_$n.json <<'PY' | tee -a $T
import json, sys
n, rc, sec, mem, f = sys.argv[1:]
for j in map(json.loads, open(f)):
    G, q = 2**30, j['tokens'] // j['accumulation'] // 2048
    print(f"{n:14s} s{q:<2d} rc {rc} {j['tokens_per_s']:6.0f} tok/s  step {j['step_s']['min']:.3f} {j['step_s']['median']:.3f} {j['step_s']['max']:.3f} s  device {j['device_bytes']/G:5.2f} (plan {j['planned_bytes']/G:5.2f}) host plan {j['planned_host_bytes']/G:6.2f} rss {j['rss_above_idle_mib']/1024:6.2f} machine {int(mem)/1024:6.2f} GiB  {sec} s  loss {j['loss']:.4f}")
PY
  fi
  [ $rc = 0 ] || echo "$n rc $rc $((SECONDS-START-s)) s $(tail -1 $OUT/g_$n.log | cut -c1-250)" | tee -a $T
}
S=$C/llama-1.1b.json; B=$C/llama-7b.json
c() { run $1 150 --config $B --seq-len 2048 --checkpointing --steps ${5:-1} --seqs $2 --accumulation $3 $4; }
g15="--strategy gemini --set strategy.device_memory=15GiB" g80="--strategy gemini"
c 80g_a4  16,4,1 4 "$g80"
c ref_a4  16,4 4 --no-update 2
c 15go_a4 16,4 4 "$g15 --offload-activations"
c 15g_a4  8,1  4 "$g15"
c ref_a4b 8,1 4 --no-update 2
c 80g_a1  16,4,1 1 "$g80" 3
c 15go_a1 16,4,1 1 "$g15 --offload-activations" 3
for k in 1 2; do for s in naive zero2; do run small_$s$k 40 --config $S --seqs 8 --seq-len 2048 --steps 8 --strategy $s; done; done
run small_gem_cpu 40 --config $S --seqs 8 --seq-len 2048 --steps 3 --strategy gemini --set strategy.placement=cpu
echo; cut -c1-110 $T
