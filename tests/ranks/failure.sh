#!/usr/bin/env bash
# What happens when a rank fails, is killed, or is not the same run as the others; when the run is told to stop. KILLS: how many
# random kills.
. "$COATI_SRC/tests/ranks/lib.sh"
bare=(mpirun --allow-run-as-root --oversubscribe --bind-to none)
long=(run.epochs=2000 log.progress=off log.tensorboard=0 checkpoint.every=20)

# Mistakes are told once, with their code, before anything is started or written.
once() { check "$1" exits "$2" "$3" "${@:4}"; check "$1: once" [ "$(grep -cF -- "$3" "$work/out.log")" = 1 ]; }
once "an unknown key" 2 '[optimizer] lrr: unknown key' "$run" --nproc 3 train.ini optimizer.lrr=1
once "a key of a plugin that is out of range" 2 'betas' "$run" --nproc 3 train.ini optimizer.betas=2,3 strategy.name=ddp
once "a strategy for one rank" 2 'strategy naive is for one rank, there are 2' "$run" --nproc 2 train.ini
once "comm = self" 2 'comm = self is for one rank' "$run" --nproc 2 train.ini run.comm=self
once "no mpirun" 1 'openmpi-bin' env COATI_MPIRUN=not-there "$run" --nproc 2 train.ini
sed '2s/"output"/"outptu"/; 3s/{/[/' "$COATI_SRC/tools/quickstart/train.json" > broken.json
once "broken data" 3 'broken.json' "$run" --nproc 2 train.ini dataset.path=broken.json strategy.name=ddp
check "nothing was written" [ ! -e out ]

# Ranks of a machine share its memory: what is enough for one alone is not for two.
total() { "$run" --plan train.ini batch.size="$1" 2>/dev/null | awk '$1 == "total" { print $2 }'; }
free=$(awk '$1 == "MemAvailable:" { printf "%.0f", $2 * 1024 }' /proc/meminfo)
size=$(awk -v a="$(total 1000)" -v b="$(total 2000)" -v f="$free" 'BEGIN { printf "%d", 1000 * (0.7 * f - a) / (b - a) + 1000 }')
check "memory for two" exits 4 "2 ranks on one machine need" "$run" --nproc 2 train.ini strategy.name=ddp batch.size="$size"
check "nothing was written" [ ! -e out ]

# Ranks that are not the same run.
check "another configuration" exits 2 "rank 1 on $(hostname): another train.ini than rank 0: [optimizer] lr is 0.5 here and 1e-3 there" \
  "${bare[@]}" -n 1 "$run" -q train.ini strategy.name=ddp : -n 1 "$run" -q train.ini strategy.name=ddp optimizer.lr=0.5
mkdir a b; cp "$COATI_SRC/tools/quickstart/train.json" a/; sed 's/lion/tiger/' a/train.json > b/train.json
check "other data" exits 3 "other data" \
  "${bare[@]}" --wdir a -n 1 "$run" -q "$work/train.ini" strategy.name=ddp dataset.path=/proc/self/cwd/train.json : --wdir b -n 1 "$run" -q "$work/train.ini" strategy.name=ddp dataset.path=/proc/self/cwd/train.json
cp "$run" other-build; printf x >> other-build
check "another build" exits 2 "rank 1 on $(hostname): another build of coati" \
  "${bare[@]}" -n 1 "$run" -q train.ini strategy.name=ddp : -n 1 ./other-build -q train.ini strategy.name=ddp
check "nothing was written" [ ! -e out ]

# Told to stop: all ranks at the same step, a checkpoint, and the code.
started() { for _ in $(seq 300); do [ -s "$1/metrics.jsonl" ] && return 0; sleep 0.1; done; return 1; }
for s in "INT 130" "TERM 143"; do
  set -- $s
  (exec "$run" -q --nproc 2 train.ini run.output="sig$1" strategy.name=zero2 "${long[@]}" 2> "sig$1.log") & pid=$!
  check "SIG$1: begun" started "sig$1"
  kill -"$1" $pid; wait $pid; code=$?
  check "SIG$1: exit $2" [ $code = "$2" ]
  last=$(tail -1 "sig$1/metrics.jsonl" | grep -o '"step":[0-9]*' | cut -d: -f2)
  check "SIG$1: a checkpoint of the last step" [ -e "sig$1/checkpoints/step-$last/state.json" ]
done

# A disk that is full for one rank: nobody has a checkpoint of that step, the earlier one stays, and the code says why.
if [ -z "${SHORT:-}" ]; then # preloading is not for sanitized programs
  full=("$run" -q --nproc 2 train.ini run.output=full strategy.name=zero2 run.max_steps=6 checkpoint.every=3 checkpoint.keep=5 log.tensorboard=0 run.save_model=0 log.samples=0)
  check "a full disk" exits 4 "disk full" env FULL_DISK_UNDER=full/checkpoints/step-6 FULL_DISK_AFTER=300000 LD_PRELOAD="$FULL_DISK" "${full[@]}"
  check "a full disk: at which step" grep -q "checkpoint of step 6: " out.log
  check "a full disk: the checkpoint before, and no half one" [ "$(ls full/checkpoints)" = step-3 ]
  check "with room again it goes on" "${full[@]}"
fi

nobody() { ! pgrep -af "train.ini run.output=killed"; }

# Killed: the others stop within 10 s, the message says who, where and when; then it goes on, on the same curve.
check "the curve" ranks 2 ddp curve run.max_steps=60 log.tensorboard=0
rm -rf killed
for k in $(seq "${KILLS:-4}"); do
  (exec "$run" -q --nproc 2 train.ini run.output=killed strategy.name=ddp batch.accumulation=2 run.max_steps=60 log.tensorboard=0 checkpoint.every=5 2> killed.log) & pid=$!
  for _ in $(seq 200); do
    victims=($(pgrep -f "coati-run -q train.ini run.output=killed" | while read -r p; do [ "$(ps -o comm= -p "$p")" = coati-run ] && echo "$p"; done))
    [ ${#victims[@]} -ge 2 ] && break; sleep 0.05
  done
  sleep "0.$((RANDOM % 9))"
  kill -9 "${victims[$((RANDOM % ${#victims[@]}))]}" 2>/dev/null; killed=$?
  from=$SECONDS
  wait $pid; code=$?
  if [ $killed = 0 ] && [ $code != 0 ]; then
    check "killed ($k): exit 1" [ $code = 1 ]
    check "killed ($k): within 10 s" [ $((SECONDS - from)) -le 10 ]
    check "killed ($k): who and where" grep -qE "coati-run: (rank [01] on $(hostname)(, step [0-9]+)?: killed by signal 9|mpirun ended)" killed.log
    check "killed ($k): nobody is left" nobody
  fi
done
check "it goes on" ranks 2 ddp killed run.max_steps=60 log.tensorboard=0 checkpoint.every=5
check "on the same curve" cmp <(values killed loss) <(values curve loss)
finish
