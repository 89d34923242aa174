#!/usr/bin/env bash
# LoRA from the command line: train an adapter over a model made here, go on with it, use it, merge it, refuse wrong ones.
source "$(dirname "$0")/lib.sh"
cd "$work"
gen=$COATI_BIN/coati-generate
"$run" -q train.ini run.output=base run.max_steps=2 || exit 1
cat > lora.ini <<INI
[include]
path = train.ini
[lora]
rank = 4
alpha = 8
dropout = 0.1
merge = 1
INI
run_lora() { "$run" -q lora.ini model.path=base/model model.init=pretrained "$@"; }
text() { "$gen" --model "$1" --prompt "12 + 7 =" --max-new-tokens 12 "${@:2}"; }

check "trains" run_lora run.output=whole
check "the same bits by the same seed" sh -c "'$run' -q lora.ini model.path=base/model model.init=pretrained run.output=again && cmp whole/adapter/adapter_model.safetensors again/adapter/adapter_model.safetensors"
check "stops" run_lora run.output=parts run.stop_after=5
check "goes on" run_lora run.output=parts
check "stopped and gone on: the same bits" cmp whole/adapter/adapter_model.safetensors parts/adapter/adapter_model.safetensors
check "the same metrics" same_metrics whole parts
check "a checkpoint holds no frozen weight" sh -c '! grep -q "embed_tokens" whole/checkpoints/step-*/weights.safetensors && grep -q lora_A whole/checkpoints/step-*/weights.safetensors'
check "with checkpointed blocks the same bits" sh -c "'$run' -q lora.ini model.path=base/model model.init=pretrained model.checkpointing=block run.output=blocks && cmp whole/adapter/adapter_model.safetensors blocks/adapter/adapter_model.safetensors"
check "adapter and merged model answer alike" [ "$(text base/model --adapter whole/adapter)" = "$(text whole/model)" ]
check "no model/ unless asked" sh -c "'$run' -q lora.ini model.path=base/model model.init=pretrained lora.merge=0 run.output=only && [ ! -e only/model ] && [ -e only/adapter/adapter_config.json ]"
check "two adapters over one base" sh -c "'$gen' --model base/model --adapter whole/adapter --adapter only/adapter --prompt 1 --max-new-tokens 4 --json > two.jsonl && grep -c '^{\"adapter\":\"whole/adapter\"' two.jsonl && [ \$(wc -l < two.jsonl) -eq 2 ]"
check "only embeddings train" sh -c "'$run' -q train.ini model.path=base/model model.init=pretrained model.train=embeddings run.output=emb && '$run' train.ini --plan model.train=embeddings | grep -q 'of them trained'"

check "a target that is not there" exits 2 '"q_porj" matches no product of the model; there are q_proj' run_lora run.output=x lora.targets=q_porj
check "a rank above the width" exits 2 "is above the width of" run_lora run.output=x lora.rank=60000
check "train = lora without a rank" exits 2 "needs a [lora] rank above 0" run_lora run.output=x model.train=lora lora.rank=0
check "embeddings and lora" exits 2 "cannot be had together" run_lora run.output=x model.train=embeddings
check "a changed rank on resume" exits 2 "[lora] rank" run_lora run.output=parts lora.rank=3
check "nothing was written" [ ! -e x ]
check "not an adapter" exits 3 "adapter_config.json" text base/model --adapter base/model
check "an adapter of another model" exits 3 "is for another model" text base/model --adapter "$COATI_SRC/tests/golden/lora/two_names"
check "a file that was cut" sh -c "cp -r whole/adapter cut && truncate -s -100 cut/adapter_model.safetensors"
check "a cut adapter" exits 3 "cut/adapter_model.safetensors" text base/model --adapter cut
finish
