#!/usr/bin/env bash
# coati-bench under strategies: each trains, to the same loss; without updates the first step's loss stays.
. "$COATI_SRC/tests/e2e/lib.sh"
cd "$work" || exit 1
cat > config.json <<'JSON'
{"model_type":"llama","hidden_size":64,"intermediate_size":160,"num_hidden_layers":3,"num_attention_heads":4,"vocab_size":300,
 "max_position_embeddings":128,"tie_word_embeddings":true}
JSON
# loss_of OPTIONS...: the loss of the last of 3 counted steps, to 5 digits
loss_of() {
  "$COATI_BIN/coati-bench" -q --config config.json --seqs 2 --seq-len 32 --steps 3 --threads 1 "$@" 2>err.txt | sed -n 's/.*"loss":\([0-9.]*\).*/\1/p' | awk '{ printf "%.5f", $1 }'
}
apart=$(loss_of) queued=$(loss_of --strategy naive)
check "steps apart and queued: $apart" [ -n "$apart" -a "$apart" = "$queued" ]
for s in zero2 "zero2_cpu --accumulation 2" zero3 gemini "gemini --set strategy.placement=cpu --accumulation 3 --checkpointing"; do
  check "--strategy $s" [ "$(loss_of --strategy $s)" = "$apart" ]
done
first=$(loss_of --no-update) thrice=$(loss_of --no-update --accumulation 3)
check "--no-update: $first, above $apart" awk -v a="$first" -v b="$apart" 'BEGIN { exit !(a > b && b > 0) }'
check "--no-update --accumulation" [ "$first" = "$thrice" ]
check "--set of what nobody has" exits 2 "no_such_key" "$COATI_BIN/coati-bench" --config config.json --strategy gemini --set strategy.no_such_key=1
check "a strategy nobody has" exits 2 "no strategy plugin" "$COATI_BIN/coati-bench" --config config.json --strategy zero9
finish
