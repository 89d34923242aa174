#!/usr/bin/env bash
# coati-inspect: plugins and options, tensors, models, checkpoints, runs; and what it says of broken ones.
. "$COATI_SRC/tests/e2e/lib.sh"
cd "$work" || exit 1
inspect=$COATI_BIN/coati-inspect
golden=$COATI_SRC/tests/golden/llama/gqa_tied

says() { # says TEXT ARGS...: exit 0, and TEXT is there, white space counted as one
  local text=$1; shift
  "$inspect" "$@" >out.txt 2>err.txt || { cat out.txt err.txt; return 1; }
  tr -s ' ' <out.txt >flat.txt
  grep -qF -- "$text" flat.txt || { echo "no \"$text\" in:"; cat out.txt; return 1; }
}
check "everything installed" says "strategy naive one rank holds everything"
check "the same as coati-run --list" sh -c "'$inspect' >a && '$run' --list >b && [ -s a ] && [ \"\$(tr -s ' ' <a)\" = \"\$(tr -s ' ' <b)\" ]"
check "sorted by kind and name" sh -c "awk '{ print \$1 }' a | uniq | sort | uniq -d | cmp - /dev/null"
check "-v: where they come from" sh -c "'$inspect' -v | grep -qE '$COATI_VERSION, (/.*coati-loss-causal_lm.so|\(built in\))$'"
check "a broken one is a warning" sh -c "COATI_PLUGIN_PATH='$BAD_DIR/major:$COATI_PLUGIN_PATH' '$inspect' >a 2>b && grep -q naive a && grep -q 'coati: warning: .*coati-loss-good.so: built for plugin ABI 2' b"
check "-q: not even that" sh -c "COATI_PLUGIN_PATH='$BAD_DIR/major:$COATI_PLUGIN_PATH' '$inspect' -q >a 2>b && [ ! -s b ]"
check "a kind: options" says "weight_decay number 0 0 to 10 decoupled decay" optimizer
check "one plugin" says "optimizer/adamw: Adam with decoupled weight decay" optimizer/adamw
check "its option's default" says "betas text 0.9,0.999" optimizer/adamw
check "what a model serves" says "serves llama" model/llama
check "what a dataset reads" says "reads .jsonl" dataset/jsonl
check "the host's own keys" says "lr number 2e-5 0 to 1000 peak learning rate" config/optimizer
check "choices" says "name choice cosine cosine | linear | constant" config/schedule
check "required" says "output path (required)" config/run
check "all sections" says "[checkpoint]" config
check "keys of each source" says "[dataset.NAME], one for each name in [dataset] sources" config
check "and alone" says "columns text - part=column, comma-separated; default: as [dataset] has them" config/dataset.NAME
check "every key of --print-config is there" sh -c "
  '$run' --print-config train.ini | grep -oE '^[a-z_]+ =' | tr -d ' =' | sort -u >keys
  { '$inspect' config; for k in backend comm strategy optimizer model tokenizer dataset loss; do '$inspect' \$k; done; } >all
  [ -s keys ] && while read -r key; do grep -qE \"^  \$key +(switch|integer|number|size|text|path|choice) \" all || { echo \"\$key\"; exit 1; }; done <keys"
check "a plugin by its file" says "loss/good: a loss of the tests" "$BAD_DIR/none/coati-loss-good.so"
check "its choices" says "mode choice slow slow | fast how to go about it" "$BAD_DIR/none/coati-loss-good.so"
check "a plugin that is none" exits 2 "not a coati plugin" "$inspect" "$BAD_DIR/entry/coati-loss-good.so"

check "a file's tensors" says "model.embed_tokens.weight F32 [43, 24] 4,128" "$golden/model.safetensors"
check "their sum" says "tensors 20, 10,560 elements, 41.2 KiB" "$golden/model.safetensors"
check "a model" says "served by model/llama" "$golden"
check "its shape" says "num_key_value_heads 2" "$golden"
check "a model without weights" says "no weights" "$COATI_SRC/tools/quickstart/model"
check "its tokenizer" says "tokenizer tokenizer.model" "$COATI_SRC/tools/quickstart/model"
head -c 2000 "$golden/model.safetensors" > cut.safetensors
model=$COATI_SRC/tools/quickstart/model
printf '{"chosen":"\\n\\nHuman: yes or no\\n\\nAssistant: yes","rejected":"\\n\\nHuman: yes or no\\n\\nAssistant: no"}\n' >hh.jsonl
printf '[{"prompt":"a","chosen":"b c","rejected":"d"},{"text":"all of it"},{"instruction":"x","output":"y"},{"prompt":"p"}]' >kinds.json
plain() { "$inspect" "$@" >out.txt 2>err.txt && sed -n "/^$what/,/^[a-z]/p" out.txt | grep "^  $sign " | sed 's/^  . //' | tr -d '|\n' >got.txt; }
check "records: how many, and columns" says "hh.jsonl: dataset/jsonl, 1 records" hh.jsonl
shows() { # shows PART SIGN TEXT ARGS…: the tokens of a part with that sign are TEXT
  what=$1 sign=$2 want=$3; shift 3
  plain "$@" && [ "$(cat got.txt)" = "$want" ] || { echo "want \"$want\", got \"$(cat got.txt)\" of:"; cat out.txt err.txt; return 1; }
}
check "what they are" says "these are dialogues records" hh.jsonl
check "both answers: chosen" shows chosen + " yes<eos>" --model "$model" hh.jsonl
check "and rejected" shows rejected + " no<eos>" --model "$model" hh.jsonl
check "after the same prompt" shows rejected - "<bos> <0>uman<0> yes or no<0>ssistant<0>" --model "$model" hh.jsonl
check "with their template" says "template hh" --model "$model" hh.jsonl
check "pairs" says "these are pairs records" kinds.json
check "pairs: rejected" shows rejected + " d<eos>" --model "$model" --template none kinds.json
check "a text is learnt whole" shows text + " all of it<eos>" --row 2 --model "$model" kinds.json
check "an answer" shows sample + " y<eos>" --row 3 --model "$model" kinds.json
check "a prompt: nothing of it" says ', 0 of them learnt ("+")' --row 4 --model "$model" kinds.json
check "a row that is not there" exits 2 "kinds.json: --row 5: there are 4" "$inspect" --row 5 kinds.json
check "a row is a number" exits 2 "rows are counted from 1" "$inspect" --row x kinds.json
check "another template's name" exits 2 "nothing" "$inspect" --model "$model" --template nothing hh.jsonl
check "a file that ends early" exits 3 "cut.safetensors" "$inspect" cut.safetensors

"$run" -q train.ini run.stop_after=5 dataset.eval.path="$COATI_SRC/tools/quickstart/eval.json" dataset.eval.template=none dataset.eval.max_len=48 eval.every=2 eval.batches=1 || exit 1
find out -type f | sort | xargs cksum >before
check "a run" says "resumable yes, from step 5" out
check "its checkpoints" says "checkpoints step-3 step-5" out
loss=$(grep -o '"loss":[0-9.]*' out/metrics.jsonl | tail -n 1 | cut -d: -f2)
check "its last step" says "metrics step 5, epoch 0.67, loss $(printf %.6g "$loss")" out
check "its last evaluation" says "evaluation step 4, loss $(printf %.6g "$(grep -o '"eval_loss":[0-9.]*' out/metrics.jsonl | tail -n 1 | cut -d: -f2)")" out
check "its configuration" says "lr = 1e-3" out
check "a checkpoint" says "step 5" out/checkpoints/step-5
check "its weights" says "model.norm.weight F32 [128] 512" out/checkpoints/step-5
check "its optimizer's states" says "model.norm.weight.state2 F32 [128] 512" out/checkpoints/step-5
mkdir out/checkpoints/step-9.tmp
check "a leftover is named" says "leftover step-9.tmp" out
check "and stays" [ -d out/checkpoints/step-9.tmp ]
rmdir out/checkpoints/step-9.tmp
find out -type f | sort | xargs cksum >after
check "nothing is changed" cmp before after
rm out/checkpoints/step-5/weights.safetensors
check "a checkpoint that lost a file" says "resumable no: " out
echo '{"step":' >out/checkpoints/step-5/state.json
check "broken state" exits 3 "state.json:" "$inspect" out/checkpoints/step-5
rm -r out/checkpoints
check "a run without" says "resumable no: no checkpoint" out
cat > lora.ini <<INI
[include]
path = train.ini
[lora]
rank = 4
alpha = 8
INI
check "an adapter is trained" "$run" -q lora.ini run.output=adapted run.max_steps=1
mkdir here; cp -r "$golden" here/model
check "a folder of a kind's name" sh -c "cd here && '$inspect' ./model | grep -q 'a model, llama'"
check "the kind wins, and says so" sh -c "cd here && '$inspect' model 2>&1 | grep -q 'coati: warning: .*./model looks at that'"
check "an adapter" says "rank 4" adapted/adapter
check "its tensors" says "lora_A.weight F32 [4, " adapted/adapter

check "a kind misspelt" exits 2 'did you mean "model/llama"?' "$inspect" modle/llama
check "a section misspelt" exits 2 'did you mean [optimizer]?' "$inspect" config/optimiser
check "no such plugin" exits 2 'installed: adamw' "$inspect" optimizer/adam
check "nothing of that name" exits 2 "no kind of plugin" "$inspect" xyzzy
check "no such file" exits 3 "no such file" "$inspect" ./xyzzy
check "a folder of nothing" exits 3 "neither a model" "$inspect" "$COATI_SRC/tests"
check "another file" exits 3 "this is none of them" "$inspect" ./train.ini
check "two things" exits 2 "one thing at a time" "$inspect" model loss
finish
