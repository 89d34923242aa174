#!/usr/bin/env bash
# run.sh: coati-run with each strategy named by one line: losses are naive's, memory is what was planned, a run goes on under another.
. "$COATI_SRC/tests/e2e/lib.sh"
cd "$work" || exit 1
values() { grep -o "\"$2\":[-0-9.e+]*" "$1/metrics.jsonl" | cut -d: -f2; }
# Largest relative difference of two runs' values, N of them.
follows() { paste <(values "$1" "$3") <(values "$2" "$3") | awk -v b="$4" -v n="$5" '{ d = ($2 - $1) / ($1 ? $1 : 1); if (d < 0) d = -d; if (d > m) m = d } END { print "off by", m; exit !(NR == n && m <= b) }'; }
is() { [ "$1" = "$2" ] || { echo "got \"$1\", want \"$2\""; return 1; }; }
total() { "$run" --plan train.ini "$@" 2>/dev/null | awk 'index($0, "total") == 1 { print $(NF - 1) }'; }
short=(run.max_steps=6 log.samples=0)

check "naive" "$run" -q train.ini run.output=naive "${short[@]}"
for s in zero1 zero2 zero2_cpu zero3 gemini; do
  o=(strategy.name=$s strategy.placement=cpu strategy.bucket_mb=0)
  check "$s" "$run" -q train.ini run.output=$s "${short[@]}" "${o[@]}"
  check "$s: naive's losses" follows naive $s loss 2e-6 6
  check "$s: naive's norms" follows naive $s grad_norm 2e-5 6
  check "$s: memory as planned" is "$(values $s mem_device_bytes | sort -u)" "$(total "${short[@]}" "${o[@]}")"
done

# Three steps under one, the rest under the next: strategy.* may change on resume.
before=naive
for s in zero1 zero2 zero2_cpu zero3 gemini naive; do
  check "$before begins" "$run" -q train.ini run.output=from-$before "${short[@]}" strategy.name=$before run.stop_after=3
  check "$s goes on" "$run" -q train.ini run.output=from-$before "${short[@]}" strategy.name=$s strategy.placement=cpu
  check "$before, then $s: naive's losses" follows naive from-$before loss 2e-6 6
  before=$s
done

# fp16: what overflows is skipped by all alike, and named alike. LoRA's frozen base, in 16 bits, in host memory.
fp16=(precision.dtype=fp16 precision.initial_scale=1e8 precision.backoff_factor=0.01 precision.hysteresis=0 batch.accumulation=1 "${short[@]}")
lora=(lora.rank=4 precision.dtype=bf16 "${short[@]}")
check "fp16" "$run" train.ini run.output=fp16 "${fp16[@]}"
grep -oE "[^ ]+ overflowed.*" check.log > skips
check "LoRA" "$run" -q train.ini run.output=lora "${lora[@]}"
check "some steps were skipped, some not" is "$(values fp16 skipped | sort -u | wc -l)" 2
check "and their tensors named" test -s skips
for s in zero1 zero2 zero2_cpu zero3 gemini; do
  o=(strategy.name=$s strategy.placement=cpu)
  check "fp16, $s" "$run" train.ini run.output=fp16-$s "${fp16[@]}" "${o[@]}"
  grep -oE "[^ ]+ overflowed.*" check.log > skips-$s
  check "fp16, $s: the same tensors overflow" diff skips skips-$s
  check "fp16, $s: the same skips" is "$(values fp16-$s skipped | tr '\n' ' ')" "$(values fp16 skipped | tr '\n' ' ')"
  check "fp16, $s: the same scales" is "$(values fp16-$s loss_scale | tr '\n' ' ')" "$(values fp16 loss_scale | tr '\n' ' ')"
  check "LoRA, $s" "$run" -q train.ini run.output=lora-$s "${lora[@]}" "${o[@]}"
  check "LoRA, $s: naive's losses" follows lora lora-$s loss 2e-5 6
done

# A cap: less than can work is refused before anything runs, with what would; that much works.
check "gemini under a cap too small" exits 4 "needs at least" "$run" train.ini run.output=no "${short[@]}" strategy.name=gemini strategy.device_memory=100000
least=$(grep -oE 'at least [0-9]+' out.log | tail -1 | cut -d' ' -f3)
check "gemini under the least cap" "$run" -q train.ini run.output=least "${short[@]}" strategy.name=gemini strategy.device_memory="$least"
check "gemini under the least cap: naive's losses" follows naive least loss 2e-6 6
check "offload_activations" "$run" -q train.ini run.output=offload "${short[@]}" model.offload_activations=1 model.checkpointing=block strategy.name=gemini strategy.placement=cpu
check "offload_activations: naive's losses" follows naive offload loss 2e-6 6
check "the other norm" "$run" -q train.ini run.output=inf "${short[@]}" optimizer.norm_type=inf strategy.name=zero2
check "the other norm is smaller" awk -v a="$(values inf grad_norm | head -1)" -v b="$(values naive grad_norm | head -1)" 'BEGIN { exit !(a > 0 && a < b / 2) }'
finish
