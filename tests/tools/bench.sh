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
check "--seqs 2,1" [ "$(loss_of --strategy zero3 --accumulation 2 --seqs 2,1 | wc -c)" -ge 14 ]
check "--seqs with a larger number behind" exits 2 "from 1 to 2" "$COATI_BIN/coati-bench" --config config.json --strategy zero3 --seqs 2,4
check "--set of what nobody has" exits 2 "no_such_key" "$COATI_BIN/coati-bench" --config config.json --strategy gemini --set strategy.no_such_key=1
check "a strategy nobody has" exits 2 "no strategy plugin" "$COATI_BIN/coati-bench" --config config.json --strategy zero9

# Under a launcher each rank has the same batch, so the loss is one rank's; rank 0 alone prints.
if command -v mpirun > /dev/null; then
  two="mpirun --allow-run-as-root --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -n 2 $COATI_BIN/coati-bench -q"
  small="--config config.json --seqs 2 --seq-len 32 --steps 3 --threads 1"
  for s in "zero2 --accumulation 2"; do
    check "2 ranks, --strategy $s" $two $small --strategy $s
    check "2 ranks, --strategy $s: once, the loss" [ "$(sed -n 's/.*"loss":\([0-9.]*\).*"ranks":2,.*/\1/p' check.log | awk '{ printf "%.5f", $1 }')" = "$apart" ]
  done
  check "2 ranks, traced" $two $small --strategy zero2 --trace trace.json
  for r in "trace.json\",0" "trace.json.1\",1"; do check "2 ranks, traced: ${r%\"*}" grep -q "\"cat\":\"comm\".*\"pid\":${r#*,}," "${r%\"*}"; done
  check "2 ranks, a strategy for one" exits 2 "strategy naive is for one rank, there are 2" $two $small --strategy naive
  check "--collectives" $two --collectives 4 --dtype bf16
  check "--collectives: of each kind and size" [ "$(grep -c '"ranks":2,"comm":"mpi","dtype":"bf16"' check.log)" = 6 ]
fi
finish
