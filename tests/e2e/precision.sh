#!/usr/bin/env bash
# [precision] dtype from the command line: bf16 and fp16 follow fp32, take the memory that is planned, resume to the bit; the
# loss scale of fp16; what model/ is stored in.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
is() { [ "$1" = "$2" ] || { echo "got \"$1\", want \"$2\""; return 1; }; }
values() { grep -o "\"$2\":[-0-9.e+]*" "$1/metrics.jsonl" | cut -d: -f2; }
# Largest relative difference of two runs' losses, against a bound.
follows() { paste <(values "$1" loss) <(values "$2" loss) | awk -v b="$3" '{ d = ($2 - $1) / $1; if (d < 0) d = -d; if (d > m) m = d } END { print "off by", m; exit !(NR == 16 && m <= b) }'; }
planned() { "$run" --plan train.ini "$@" 2>/dev/null; }
row() { awk -v n="$1" 'index($0, n) == 1 { print $(NF - 1) }'; }
# dtype of a tensor in a safetensors file, as its header says
stored() { head -c 8000 "$1/model.safetensors" | grep -aoE '"dtype": ?"[A-Z0-9]+"' | tr -d ' ' | sort | uniq -c | awk '{ print $2 }' | tr '\n' ' '; }
slow=(optimizer.lr=5e-4)

# Unit roundoff: 2^-8 in bf16, 2^-11 in fp16. A loss is a mean over tokens: half of it, and twice that for what training adds.
for a in 1 2; do
  for d in fp32 bf16 fp16; do
    check "$d, accumulation $a" "$run" -q train.ini run.output=$d-$a precision.dtype=$d batch.accumulation=$a batch.size=$((8 / a)) "${slow[@]}"
    check "$d, accumulation $a: memory as planned" is "$(values $d-$a mem_device_bytes | sort -u)" \
      "$(planned precision.dtype=$d batch.accumulation=$a batch.size=$((8 / a)) | row total)"
  done
  check "bf16 follows fp32, accumulation $a" follows fp32-$a bf16-$a 4e-3
  check "fp16 follows fp32, accumulation $a" follows fp32-$a fp16-$a 5e-4
  check "bf16 computes in 16 bits, accumulation $a" sh -c "! cmp -s fp32-$a/model/model.safetensors bf16-$a/model/model.safetensors"
done

# Bytes a parameter: 2 + 4 (master) + 8 (states), gradients 2 or, where micro-steps add up, 4. Norms (7 of 128) stay fp32.
n=$("$run" --plan train.ini 2>/dev/null | sed -nE 's/^model llama, ([0-9]+) parameters.*/\1/p'); norms=$((7 * 128)); m=$((n - norms))
planned precision.dtype=bf16 batch.accumulation=1 > p1; planned precision.dtype=bf16 > p2; planned > p0
check "bf16: parameters" is "$(row parameters < p1)" $((2 * m + 4 * norms))
check "bf16: masters" is "$(row 'master weights' < p1)" $((4 * m))
check "bf16: states" is "$(row 'optimizer states' < p1)" $((8 * n))
check "bf16: gradients of one micro-step" is "$(row gradients < p1)" $((2 * m + 4 * norms))
check "bf16: gradients that add up" is "$(row gradients < p2)" $((4 * n))
check "bf16: activations take half" is "$(row 'hidden states' < p2)" $(($(row 'hidden states' < p0) / 2))
check "fp32: no master" is "$(row 'master weights' < p0)" ""

# LoRA: the base is frozen and held once, in its 16 bits.
planned precision.dtype=bf16 lora.rank=4 > p3
adapters=$(sed -nE 's/.*, ([0-9]+) of them trained.*/\1/p' p3)
check "LoRA: the base once, adapters with masters" is "$(row parameters < p3) $(row 'master weights' < p3)" "$((2 * m + 4 * norms + 2 * adapters)) $((4 * adapters))"
check "LoRA in bf16" "$run" -q train.ini run.output=lora precision.dtype=bf16 lora.rank=4
check "LoRA in bf16 again" "$run" -q train.ini run.output=lora-again precision.dtype=bf16 lora.rank=4 run.stop_after=5
check "LoRA in bf16 goes on" "$run" -q train.ini run.output=lora-again precision.dtype=bf16 lora.rank=4
check "to the same bits" same_metrics lora lora-again
check "and the same adapter" cmp lora/adapter/adapter_model.safetensors lora-again/adapter/adapter_model.safetensors

# In fp32 as well: a base that is stored in 16 bits is held in them while it is frozen, with the results of the same values in fp32.
check "a base in bf16" "$run" -q train.ini run.output=base run.save_dtype=bf16 run.max_steps=2
check "the same in fp32" "$COATI_BIN/coati-convert" -q base/model base-fp32 --dtype fp32
for b in base/model base-fp32; do
  planned model.path=$b model.init=pretrained lora.rank=4 > "plan-${b%%/*}"
  check "LoRA over $b" "$run" -q train.ini run.output="over-${b%%/*}" model.path=$b model.init=pretrained lora.rank=4
done
check "held in bf16" is "$(row parameters < plan-base) $(row 'master weights' < plan-base)" "$((2 * m + 4 * norms + 4 * adapters)) "
check "held in fp32" is "$(row parameters < plan-base-fp32)" "$((4 * n + 4 * adapters))"
check "the same losses" follows over-base over-base-fp32 2e-6

# Resume, checkpointing of blocks: the same bits. fp16 with a scale that moves while it is interrupted.
moving=(precision.growth_interval=3 precision.initial_scale=1024)
for d in bf16 fp16; do
  check "$d in one go" "$run" -q train.ini run.output=$d-whole precision.dtype=$d "${moving[@]}"
  for s in 4 9; do check "$d, interrupted at $s" "$run" -q train.ini run.output=$d-parts precision.dtype=$d "${moving[@]}" run.stop_after=$s; done
  check "$d, the rest" "$run" -q train.ini run.output=$d-parts precision.dtype=$d "${moving[@]}"
  check "$d resumes to the bit" same_run $d-whole $d-parts
  check "$d with blocks run again" "$run" -q train.ini run.output=$d-blocks precision.dtype=$d "${moving[@]}" model.checkpointing=block
  check "$d: the same losses" is "$(values $d-blocks loss)" "$(values $d-whole loss)"
done
check "the scale grew" is "$(values fp16-parts loss_scale | uniq | tr '\n' ' ')" "1024 2048 4096 8192 16384 32768 "
check "only fp16 has a scale" is "$(cat fp32-1/metrics.jsonl bf16-1/metrics.jsonl | grep -cE 'loss_scale|skipped')" 0
check "and all its lines" is "$(grep -cE '"loss_scale":65536,"skipped":0,' fp16-1/metrics.jsonl)" 16

# Overflows: taken, then the scale falls, then training goes on.
check "overflow" "$run" train.ini run.output=over precision.dtype=fp16 precision.initial_scale=1e15 precision.max_scale=0 precision.backoff_factor=0.001 log.progress=off
cp "$work/check.log" over.log
check "what was skipped" is "$(values over skipped | tr '\n' ' ')" "1 1 1 1 1 0 0 0 0 0 0 0 0 0 0 0 "
check "and the scales" is "$(values over loss_scale | awk '{ printf "%.3g ", $1 }')" "1e+15 1e+15 1e+12 1e+09 1e+06 1e+03 1e+03 1e+03 1e+03 1e+03 1e+03 1e+03 1e+03 1e+03 1e+03 1e+03 "
check "which is said with the tensor" grep -qE "step 2: the gradient of '(lm_head|model)\.[a-z_.0-9]+' overflowed; nothing was updated, the loss scale goes from 1e\+15 to 1e\+12" over.log
check "the loss still falls" sh -c "[ \$(echo \"$(values over loss | tail -n 1) < $(values over loss | head -n 1)\" | awk '{ print (\$1 < \$3) }') = 1 ]"
check "no way down" exits 1 "the least [precision] min_scale allows" "$run" -q train.ini run.output=stuck precision.dtype=fp16 precision.initial_scale=1e20 \
  precision.min_scale=1e20 precision.max_scale=0 run.max_steps=30
check "below the least" exits 2 "initial_scale = 4 is below min_scale = 8" "$run" --check train.ini precision.initial_scale=4 precision.min_scale=8
check "above the most" exits 2 "initial_scale is above max_scale = 4" "$run" --check train.ini precision.initial_scale=8 precision.max_scale=4
check "no such type" exits 2 "fp8" "$run" --check train.ini precision.dtype=fp8

# model/: as the source is stored, or as asked for.
check "random start: fp32" is "$(stored bf16-1/model)" '"dtype":"F32" '
check "save_dtype" "$run" -q train.ini run.output=as-bf16 run.save_dtype=bf16 run.max_steps=2
check "bf16 as asked" is "$(stored as-bf16/model)" '"dtype":"BF16" '
check "from there" "$run" -q train.ini run.output=from-bf16 model.path=as-bf16/model model.init=pretrained run.max_steps=2
check "bf16 as it was" is "$(stored from-bf16/model)" '"dtype":"BF16" '
check "config.json says so" grep -q bfloat16 from-bf16/model/config.json
check "fp32 from bf16" "$run" -q train.ini run.output=to-fp32 model.path=as-bf16/model model.init=pretrained run.max_steps=2 run.save_dtype=fp32
check "fp32 as asked" is "$(stored to-fp32/model)" '"dtype":"F32" '
check "checkpoints keep fp32" is "$(head -c 8000 from-bf16/checkpoints/step-2/weights.safetensors | grep -aoE '"dtype": ?"[A-Z0-9]+"' | tr -d ' ' | sort -u)" '"dtype":"F32"'
finish
