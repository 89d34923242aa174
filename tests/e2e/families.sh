#!/usr/bin/env bash
# Every family of models from the command line: trained from random weights, its loss falls; what was written is read again; an
# adapter on all products with checkpointed blocks; merged, the same answers; half precision; dropout as config.json has it.
source "$(dirname "$0")/lib.sh"
cd "$work"
gen=$COATI_BIN/coati-generate
sizes='"vocab_size": 297, "bos_token_id": 1, "eos_token_id": 2'
declare -A config=(
  [bloom]='"model_type": "bloom", "n_embed": 36, "n_layer": 2, "num_attention_heads": 3, "hidden_dropout": 0.1'
  [gpt2]='"model_type": "gpt2", "n_embd": 36, "n_layer": 2, "n_head": 3, "n_positions": 64, "attn_pdrop": 0'
  [gpt_neox]='"model_type": "gpt_neox", "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 70, "max_position_embeddings": 64, "rotary_pct": 0.5'
  [opt]='"model_type": "opt", "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "ffn_dim": 70, "max_position_embeddings": 64'
  [opt_350m]='"model_type": "opt", "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 70, "max_position_embeddings": 64, "word_embed_proj_dim": 20, "do_layer_norm_before": false'
  [mistral]='"model_type": "mistral", "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 70, "max_position_embeddings": 64, "sliding_window": 9'
  [qwen2]='"model_type": "qwen2", "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 70, "max_position_embeddings": 64, "use_sliding_window": true, "sliding_window": 9, "max_window_layers": 1, "tie_word_embeddings": true'
)
loss() { grep -o '"loss":[0-9.]*' "$1/metrics.jsonl" | sed -n "$2" | cut -d: -f2; }
falls() { awk -v a="$(loss "$1" 1p)" -v b="$(loss "$1" '$p')" 'BEGIN { print a, b; exit !(b > 0 && b < 0.9 * a) }'; }
answer() { "$gen" --model "$1" --prompt "12 + 7 =" --max-new-tokens 12 "${@:2}"; }

for family in "${!config[@]}"; do
  mkdir -p $family && cp "$COATI_SRC/tools/quickstart/model/tokenizer.model" $family
  echo "{${config[$family]}, \"initializer_range\": 0.1, \"init_std\": 0.1, $sizes}" >$family/config.json
  train() { "$run" -q train.ini model.path=$family "$@"; }
  check "$family: trains" train run.output=$family.out optimizer.lr=1e-2
  check "$family: the loss falls" falls $family.out
  check "$family: what was written goes on training" "$run" -q train.ini model.path=$family.out/model model.init=pretrained run.output=$family.more run.max_steps=2
  check "$family: an adapter on every product" "$run" -q train.ini model.path=$family.out/model model.init=pretrained model.checkpointing=block \
    run.output=$family.lora run.max_steps=4 optimizer.lr=1e-2 lora.rank=4 lora.alpha=8 lora.merge=1
  check "$family: adapter and merged model answer alike" [ "$(answer $family.out/model --adapter $family.lora/adapter)" = "$(answer $family.lora/model)" ]
  check "$family: in bf16" train run.output=$family.half precision.dtype=bf16 run.max_steps=3
done

check "dropout is off and said so" sh -c "'$run' -v train.ini model.path=bloom run.output=off run.max_steps=1 2>&1 | grep 'dropout of up to 0.1; it is off'"
check "dropout as config.json has it" "$run" -q train.ini model.path=bloom run.output=on model.dropout=config optimizer.lr=1e-2
check "changes the losses" sh -c "! cmp -s bloom.out/metrics.jsonl on/metrics.jsonl && [ '$(loss bloom.out 1p)' != '$(loss on 1p)' ]"
check "and the loss falls" falls on
sed -i 's/"attn_pdrop": 0/"attn_pdrop": 0.1/' gpt2/config.json
check "dropout in attention is refused" exits 2 "[model] dropout = off leaves it out" "$run" train.ini model.path=gpt2 run.output=x model.dropout=config
check "longer than the positions" exits 2 "max_len = 65 is beyond the model's 64 positions" "$run" train.ini model.path=gpt2 run.output=x dataset.max_len=65
check "another family's plugin" exits 3 '[model] arch = bloom does not serve model_type "gpt2" (auto takes' "$run" train.ini model.path=gpt2.out/model model.init=pretrained model.arch=bloom run.output=x
sed -i 's/"gpt2"/"gpt9"/' gpt2/config.json
check "a family nobody serves" exits 3 '"gpt9" is served by no installed model plugin; they serve: ' "$run" train.ini model.path=gpt2 run.output=x
check "the same for generation" exits 3 '"gpt9" is served by no installed model plugin; they serve: ' "$gen" --model gpt2 --prompt 1
finish
