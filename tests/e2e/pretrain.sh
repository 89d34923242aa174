#!/usr/bin/env bash
# Stage pretrain: blocks of texts, every token learnt, resumed to the same bits; embeddings alone; what is refused.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
grep -o '"output": *"[^"]*"' "$COATI_SRC/tools/quickstart/train.json" | sed 's/"output": */{"text": /; s/$/}/' | head -n 80 > texts.jsonl
pre=(run.stage=pretrain dataset.path=texts.jsonl dataset.max_records=0 dataset.max_len=32 checkpoint.every=2)
is() { [ -n "$2" ] && [ "$1" = "$2" ] || { echo "got \"$1\""; echo "want \"$2\""; return 1; }; }
"$run" -q train.ini --check "${pre[@]}" > shown 2>&1
check "--check says what it reads" grep -q "texts.jsonl: texts, [0-9]* tokens in blocks of 32, every token learnt" shown
check "a run" "$run" -q train.ini "${pre[@]}" run.output=out
tokens=$(sed -n 's/.*texts, \([0-9]*\) tokens.*/\1/p' shown)
check "an epoch reads each token once" is "$(grep -o '"epoch":[0-9.]*,.*"tokens":[0-9]*' out/metrics.jsonl | awk -F'[:,]' '$2 <= 1 { for (i = 1; i < NF; i++) if ($i == "\"tokens\"") n += $(i + 1) } END { print n }')" "$tokens"
first() { grep -o '"loss":[0-9.]*' "$1/metrics.jsonl" | "$2" -n 1 | cut -d: -f2; }
check "the loss falls" awk -v a="$(first out head)" -v b="$(first out tail)" 'BEGIN { exit !(b < a - 0.1) }'
check "stopped on the way" "$run" -q train.ini "${pre[@]}" run.output=halves run.stop_after=3
check "and resumed" "$run" -q train.ini "${pre[@]}" run.output=halves
check "to the same bits" same_run out halves
check "a token budget" "$run" -q train.ini "${pre[@]}" batch.tokens=128 run.output=budget
check "held out texts" "$run" -q train.ini "${pre[@]}" dataset.split=0.8 run.output=split
check "are evaluated" grep -q '"eval_loss":[0-9]' split/metrics.jsonl
"$run" -q train.ini --dump-batches dumped "${pre[@]}" dataset.shuffle=0 batch.size=1 batch.accumulation=1 run.epochs=1 > /dev/null 2>&1
check "blocks are full, but the last" sh -c "grep -o '\"seq_start\": \[[^]]*\]' dumped/train.jsonl | sed '\$d' | sort -u | grep -qx '\"seq_start\": \[0,32\]'"
check "one is one sequence" is "$(grep -c 'seq_start": \[0,32\]' dumped/train.jsonl)" "$((tokens / 32))"

# Embeddings alone, as for a vocabulary that was made longer.
check "embeddings alone" "$run" -q train.ini "${pre[@]}" model.train=embeddings run.output=emb
mkdir untied && cp "$COATI_SRC"/tools/quickstart/model/* untied/ && sed -i 's/"tie_word_embeddings": *true/"tie_word_embeddings": false/' untied/config.json
check "are the table and the head" sh -c "'$run' train.ini --plan model.path=untied model.train=embeddings > plan && grep -q ' 76032 of them trained' plan"
check "LoRA" "$run" -q train.ini "${pre[@]}" model.train=lora lora.rank=2 run.output=lora

check "columns" "$run" -q train.ini "${pre[@]}" dataset.path="$COATI_SRC/tools/quickstart/train.json" dataset.columns=text=output run.output=columns run.max_steps=2
check "answers are no texts" exits 3 "stage pretrain learns plain texts" "$run" train.ini "${pre[@]}" dataset.path="$COATI_SRC/tools/quickstart/train.json" run.output=no
check "and texts no answers" exits 3 "stage sft learns answers, stage pretrain texts" "$run" train.ini "${pre[@]}" run.stage=sft run.output=no
echo '{"text": 3' > broken.jsonl
check "a broken record" exits 3 "broken.jsonl: row 1" "$run" train.ini "${pre[@]}" dataset.path=broken.jsonl run.output=no
check "other stages" exits 2 "it offers sft and pretrain" "$run" train.ini run.stage=rm
shared=${COATI_SHARED:-$COATI_SRC/../shared}/data/pretrain/llamafactory_c4_demo.jsonl
if [ -f "$shared" ]; then
  check "Wikipedia as plain text" "$run" -q train.ini "${pre[@]}" dataset.path="$(dirname "$shared")/llamafactory_wiki_demo.txt" dataset.max_len=128 run.max_steps=2 run.output=wiki
  check "C4" "$run" -q train.ini "${pre[@]}" dataset.path="$shared" dataset.max_len=128 run.max_steps=2 run.output=c4
else
  echo "without shared data: C4 and Wikipedia are left out"
fi
finish
