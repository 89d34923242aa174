#!/usr/bin/env bash
# A run by several ranks is the run of one: losses, evaluation, files; under every strategy and number of ranks, begun under one and
# gone on with under another; started by coati-run or by mpirun.
. "$COATI_SRC/tests/ranks/lib.sh"
with_eval=(dataset.eval.path="$COATI_SRC/tools/quickstart/eval.json" dataset.eval.template=none dataset.eval.max_len=48 eval.every=2 dataset.eval.max_records=21)
is() { [ "$1" = "$2" ] || { echo "got \"$1\", want \"$2\""; return 1; }; }
close_evals() { paste <(values "$1" eval_loss) <(values "$2" eval_loss) | awk '{ d = $1 - $2; if (d < 0) d = -d; if (NF != 2 || d > 2e-6 * $1) { print; bad = 1 } } END { exit bad || NR == 0 }'; }

check "one rank" alone one "${with_eval[@]}"
all=("ddp 4" "ddp 1" "ddp 2" "zero1 4" "zero2 2" "zero3 2" "gemini 4")
[ -z "${SHORT:-}" ] || all=("ddp 4" "zero2 2")
for s in "${all[@]}"; do
  set -- $s
  check "$1, $2 ranks" ranks "$2" "$1" "$1-$2" "${with_eval[@]}"
  check "$1, $2 ranks: losses" close_losses "$1-$2" one
  check "$1, $2 ranks: evaluations" close_evals "$1-$2" one
  check "$1, $2 ranks: as many samples, tokens and evaluation samples" is "$(values "$1-$2" samples; values "$1-$2" tokens; values "$1-$2" eval_samples)" \
    "$(values one samples; values one tokens; values one eval_samples)"
  check "$1, $2 ranks: the same set of files" is "$(cd "$1-$2" && find . -type f | sed 's/events.*/events/' | sort)" "$(cd one && find . -type f | sed 's/events.*/events/' | sort)"
done
[ -z "${SHORT:-}" ] || { finish; exit; } # sanitized programs start slowly

# Where no gradient is added to inside a kernel, the place of a micro-batch does not show: N ranks with one micro-step, or one with N.
check "zero3, 1 rank with 4 micro-steps" ranks 1 zero3 zero3-1
check "zero3, 4 ranks with one" ranks 4 zero3 zero3-4
check "the same bits" cmp zero3-1/model/model.safetensors zero3-4/model/model.safetensors
check "as ddp's" cmp zero3-1/model/model.safetensors ddp-4/model/model.safetensors
check "under a bare mpirun" mpirun --allow-run-as-root --oversubscribe --bind-to none -n 4 "$run" -q train.ini run.output=bare strategy.name=ddp batch.accumulation=1 "${with_eval[@]}"
check "the same bits" cmp ddp-4/model/model.safetensors bare/model/model.safetensors

# By tokens.
check "by tokens, one rank" alone tokens batch.tokens=96
check "by tokens, 2 ranks" ranks 2 ddp tokens-2 batch.tokens=96
check "by tokens: losses" close_losses tokens-2 tokens
check "by tokens: the same samples" is "$(values tokens-2 samples)" "$(values tokens samples)"

# The last step of an epoch has one sample: three of four ranks have none.
check "a small last step, one rank" alone small dataset.max_records=33
check "a small last step, 4 ranks" ranks 4 zero3 small-4 dataset.max_records=33
check "a small last step: losses" close_losses small-4 small

# LoRA: the adapter is written once, by what every rank has.
check "lora, one rank" alone lora lora.rank=4 lora.merge=1
check "lora, zero2, 2 ranks" ranks 2 zero2 lora-2 lora.rank=4 lora.merge=1
check "lora: losses" close_losses lora-2 lora
check "lora: files" is "$(ls lora-2 lora-2/adapter | sed s/lora-2//)" "$(ls lora lora/adapter | sed s/lora//)"

# Checkpoints belong to no strategy and no number of ranks.
state() { md5sum < "$1/checkpoints/step-3/optimizer.safetensors"; }
check "checkpoints of 4 ranks and of one are the same bytes" is "$(state zero3-4)" "$(state zero3-1)"
for s in "zero2 4 ddp 2" "ddp 2 zero3 4" "gemini 2 zero1 1"; do
  set -- $s
  check "$1, $2 ranks, half way" ranks "$2" "$1" "half-$1" run.stop_after=3
  printf '[comm]\nsums = auto\n' >> "half-$1/checkpoints/step-3/config.ini" # of a comm plugin with options, where this one has none
  check "gone on with by $3, $4 ranks" ranks "$4" "$3" "half-$1" --resume
  check "$1, then $3: losses" close_losses "half-$1" one
done
check "another global batch is refused" exits 2 "4 ranks wrote" "$run" -q --nproc 2 train.ini run.output=ddp-4 strategy.name=ddp batch.accumulation=1 --resume "${with_eval[@]}"

# A trace each rank, with its number on every span; updates in host memory on a thread of their own.
check "traced" ranks 2 zero2_cpu traced log.trace=1
for r in 0 1; do
  for span in '"name":"reduce_scatter[^"]*","cat":"comm"' '"name":"all_gather[^"]*","cat":"comm"' '"name":"update","cat":"host"'; do
    check "rank $r: $span" grep -qE "$span,.*\"pid\":$r," traced/trace-$r.json
  done
  check "rank $r: the update on another thread" is "$(grep '"cat":"host"' traced/trace-$r.json | grep -c '"tid":1}')" 0
done

# What is said without starting anything.
check "--plan for ranks" sh -c "'$run' --plan --nproc 8 train.ini strategy.name=zero2 > plan.txt && grep -q '^ranks 0 to 7 of 8, each:' plan.txt"
check "--check for ranks" exits 0 "ok: 48 records" "$run" --check --nproc 4 train.ini strategy.name=ddp
check "--check: a strategy for one rank" exits 2 "strategy naive is for one rank, there are 4" "$run" --check --nproc 4 train.ini
finish
