#!/usr/bin/env bash
# Ranks with a GPU each, over NCCL, are one GPU: 50 steps in bf16 under every strategy, checkpoints of all gone on with by one and the
# other way round, a killed rank. As many ranks as there are GPUs; skipped (77) with fewer than two.
#
# BACKEND=cpu RANKS=2: the same with ranks on the CPU over MPI, to try the script.
#
# The bound. Both runs have the same global batches, cut into the same micro-batches g_1..g_N. One GPU adds their gradients in fp32;
# ranks round theirs to bf16 (relative error u = 2^-8 each) and the sum again, so an element's error is at most u (sum |g_i| + |g|). To first
# order a step of AdamW moves element j by lr s_j, |s_j| ~ 1, against g_j, and the loss falls by lr sum |g_j|. A relative error e of g_j
# changes s_j by at most 2 e, as m and v average it. If all errors had the worst sign, a step's fall of the loss would so be off by
# 4 u (1 + sum |g_i| / |g|) of itself; they have either sign and are independent, so over the elements (10^6 here, 10^9 in earnest) nearly all of it cancels.
# Asked for is u of the descent so far, an eighth of the worst case with micro-batches that agree: u (loss_1 - loss_t). On top comes
# what the compute copies add, whose weights are rounded to bf16 and sit on other sides of a rounding: u / 4 of the loss. The first loss is
# before any update: there the sums of losses alone differ, in fp32.
set -u
backend=${BACKEND:-cuda}
gpus() { nvidia-smi -L 2>/dev/null | grep -c '^GPU'; }
n=${RANKS:-$(gpus)}
if [ "$backend" = cuda ] && [ "$(gpus)" -lt "$n" -o "$n" -lt 2 ]; then echo "skipped: $(gpus) GPUs, 2 or more are needed"; exit 77; fi
. "$COATI_SRC/tests/e2e/lib.sh"
cd "$work" || exit 1
mkdir model && cp "$COATI_SRC/tools/quickstart/model/tokenizer.model" model/
cat > model/config.json <<'JSON'
{"model_type":"llama","hidden_size":256,"intermediate_size":512,"num_hidden_layers":4,"num_attention_heads":4,"vocab_size":297,
 "max_position_embeddings":128,"tie_word_embeddings":false,"bos_token_id":1,"eos_token_id":2}
JSON
cat > train.ini <<INI
[run]
output = out
backend = $backend
epochs = 1
max_steps = ${STEPS:-50}
[model]
path = model
init = random
[dataset]
path = $COATI_SRC/tools/quickstart/train.json
template = none
max_len = 64
[batch]
size = 4
[optimizer]
lr = 1e-3
[precision]
dtype = ${DTYPE:-bf16}
[checkpoint]
every = never
[log]
tensorboard = 0
samples = 0
progress = off
INI
values() { grep -o "\"$2\":[-0-9.e+]*" "$1/metrics.jsonl" | cut -d: -f2; }
all() { local out=$1 s=$2; shift 2; "$run" -q --nproc "$n" train.ini run.output="$out" strategy.name="$s" batch.accumulation=1 run.deterministic=1 "$@"; }
one() { local out=$1 s=$2; shift 2; "$run" -q train.ini run.output="$out" strategy.name="$s" batch.accumulation="$n" run.deterministic=1 "$@"; }
within() { # within A B: B's losses within the bound of A's
  paste <(values "$1" loss) <(values "$2" loss) | awk -v steps="${STEPS:-50}" '
    BEGIN { u = 1 / 256 }
    NR == 1 { first = $1 }
    { d = $2 - $1; if (d < 0) d = -d; fell = first - $1; if (fell < 0) fell = 0
      bound = NR == 1 ? 1e-5 * $1 : u * fell + u / 4 * $1
      if (d / bound > most) most = d / bound
      if (NF != 2 || !(d <= bound)) { print "step " NR ": " $1 ", " $2 ", bound " bound; bad = 1 } }
    END { if (NR != steps) { print NR " steps, want " steps; bad = 1 } printf "largest difference: %.3f of the bound; losses %s to %s\n", most, first, $1; exit bad }'
}
report() { tail -1 "$work/check.log"; }
weights() { md5sum < "$1/model/model.safetensors"; }

check "one rank" one one naive
check "one rank, again: the same bits" sh -c "'$run' -q train.ini run.output=again batch.accumulation=$n run.deterministic=1 && cmp one/model/model.safetensors again/model/model.safetensors"
check "the loss falls" awk -v a="$(values one loss | head -1)" -v b="$(values one loss | tail -1)" 'BEGIN { exit !(b < 0.8 * a) }'
for s in ddp zero1 zero2 zero3 gemini; do
  check "$s, $n ranks" all "$s" "$s"
  check "$s, $n ranks: losses" within one "$s"; report
done
# Where the same gradients are rounded in the same places the bits are the same, wherever shards stand.
for s in zero2 zero3 gemini; do check "$s: ddp's bits" [ "$(weights $s)" = "$(weights ddp)" ]; done

# Checkpoints: of all, gone on with by one; of one, by all; of all, by half of them.
half=$(((${STEPS:-50} + 1) / 2))
check "zero2, $n ranks, half way" all down zero2 run.stop_after=$half checkpoint.every=0
check "gone on with by one rank" one down naive checkpoint.every=0 --resume
check "losses" within one down; report
check "one rank, half way" one up naive run.stop_after=$half checkpoint.every=0
check "gone on with by zero3, $n ranks" all up zero3 checkpoint.every=0 --resume
check "losses" within one up; report
if [ "$n" -ge 4 ] && [ $((n % 2)) = 0 ]; then
  check "gemini, $n ranks, half way" all halves gemini run.stop_after=$half checkpoint.every=0
  check "gone on with by ddp, $((n / 2)) ranks" "$run" -q --nproc $((n / 2)) train.ini run.output=halves strategy.name=ddp batch.accumulation=2 run.deterministic=1 checkpoint.every=0 --resume
  check "losses" within one halves; report
fi

# The trace: units on one stream of the device, messages on another.
if [ "$backend" = cuda ]; then
  check "traced" all traced zero2 run.max_steps=4 log.trace=1
  for r in 0 $((n - 1)); do
    check "rank $r: units on the device" grep -qE '"cat":"unit",.*"tid":1000}' traced/trace-$r.json
    check "rank $r: messages on another stream" grep -qE '"name":"reduce_scatter[^"]*","cat":"comm",.*"tid":100[1-9]}' traced/trace-$r.json
  done
fi

# A killed rank: all end within 10 s, the code is 1, and the message says who. In the midst of steps, so inside collectives too.
for k in $(seq "${KILLS:-3}"); do
  (exec "$run" -q --nproc "$n" train.ini run.output=killed strategy.name=zero3 batch.accumulation=1 run.max_steps=0 run.epochs=5000 2> killed.log) & pid=$!
  for _ in $(seq 600); do [ -s killed/metrics.jsonl ] && break; sleep 0.1; done
  check "killed ($k): it had begun" [ -s killed/metrics.jsonl ]
  mapfile -t victims < <(pgrep -f "coati-run -q train.ini run.output=killed" | while read -r p; do [ "$(ps -o comm= -p "$p")" = coati-run ] && echo "$p"; done)
  check "killed ($k): $n ranks" [ ${#victims[@]} = "$n" ]
  sleep "0.$((RANDOM % 9))"
  kill -9 "${victims[$((RANDOM % ${#victims[@]}))]}"; from=$(date +%s%N)
  wait $pid; code=$?; took=$((($(date +%s%N) - from) / 1000000))
  check "killed ($k): exit 1" [ $code = 1 ]
  check "killed ($k): within 10 s" [ $took -le 10000 ]
  check "killed ($k): who" grep -qE "coati-run: (rank [0-9]+ on [^ ]+(, step [0-9]+)?: killed by signal 9|mpirun ended)" killed.log
  check "killed ($k): nobody is left" sh -c '! pgrep -f "[t]rain.ini run.output=killed"'
  echo "killed: all ended after $took ms"
  rm -rf killed
done
finish
