#!/usr/bin/env bash
# guide.sh PLUGINS: the plugins of plugins/GUIDE.md, taken out of it and built: each passes coati-validate, and works in a run.
. "$COATI_SRC/tests/e2e/lib.sh"
cd "$work" || exit 1
validate=$COATI_BIN/coati-validate gen=$COATI_BIN/coati-generate
export COATI_PLUGIN_PATH=$1:$COATI_PLUGIN_PATH
for i in $(seq 40); do printf 'What is %d plus 1?\t\t%d\n' "$i" "$((i + 1))"; done >data.tsv
mkdir bytes && echo >bytes/my_bytes.txt
mkdir model && cp "$COATI_SRC/tools/quickstart/model/tokenizer.model" model/
cat >model/config.json <<JSON
{"model_type": "my_model", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 297, "max_position_embeddings": 64}
JSON

passes() { exits 0 "passed" "$validate" "${@:2}" "$plugins/$1"; }
plugins=$1
check "a model" passes coati-model-my_model.so
check "a loss" passes coati-loss-my_loss.so
check "a dataset" passes coati-dataset-my_data.so --data data.tsv
check "a tokenizer" passes coati-tokenizer-my_bytes.so --data bytes
check "an optimizer" passes coati-optimizer-my_sgd.so
check "a strategy" passes coati-strategy-my_strategy.so
check "a backend" passes coati-backend-my_backend.so

trains() { "$run" -q train.ini run.output="$1" "${@:2}" && fell "$1"; }
sgd() { "$run" -q sgd.ini run.output=o "$@" && fell o; }
fell() { awk -F'"loss":' '/"loss"/ { split($2, a, ","); if (!n++) first = a[1]; last = a[1] } END { exit !(n > 2 && last < first) }' "$1/metrics.jsonl"; }
check "trains the model" trains m model.path=model
check "and asks it" sh -c "'$gen' --model m/model --prompt 'What is 3 plus 1?' --max-new-tokens 4 --json | grep -q '\"ids\"'"
adapts() { "$run" -q train.ini run.output=a model.path=m/model model.init=pretrained model.checkpointing=block lora.rank=2 optimizer.lr=1e-2 &&
  fell a && grep -q '"qkv"' a/adapter/adapter_config.json; }
check "an adapter on its products" adapts
check "and asks it with that" sh -c "'$gen' --model m/model --adapter a/adapter --prompt 'What is 3 plus 1?' --max-new-tokens 4 --json | grep -q '\"ids\"'"
check "with the loss" trains l loss.name=my_loss loss.temperature=0.9
numbers() { grep -o "\"$2\":[0-9.e-]*" "$1/metrics.jsonl" | cut -d: -f2; }
near() { paste "$1" "$2" | awk '{ d = $1 - $2 } NF != 2 || d * d > 1e-10 { bad = 1 } END { exit bad || NR < 4 }'; }
numbers l loss >l.loss
numbers l likelihood >l.likelihood
check "its metric is the mean of probabilities" sh -c "paste l.loss l.likelihood | awk 'NF != 2 || !(\$2 <= 1 && \$2 > exp(-\$1)) { bad = 1 } END { exit bad || NR < 4 }'"
check "the same batches in one piece" trains one loss.name=my_loss loss.temperature=0.9 batch.size=8 batch.accumulation=1
check "give the same metric" near l.likelihood <(numbers one likelihood)
check "evaluations have it too" sh -c "'$run' -q train.ini run.output=e loss.name=my_loss dataset.split=0.8 run.max_steps=4 && grep -q '\"eval_likelihood\":0.' e/metrics.jsonl"
check "and coati-eval" sh -c "'$COATI_BIN/coati-eval' --model e/model --dataset '$COATI_SRC/tools/quickstart/eval.json' loss.name=my_loss dataset.template=none | grep -q '\"likelihood\":0.'"
check "with the dataset" trains d dataset.path=data.tsv
check "with the tokenizer" trains t tokenizer.name=my_bytes tokenizer.path=bytes dataset.max_len=96
check "with the optimizer" sh -c "sed '/weight_decay/d' train.ini > sgd.ini"
check "trains with it" sgd optimizer.name=my_sgd optimizer.lr=0.05 optimizer.momentum=0.5
check "with the strategy" trains s strategy.name=my_strategy
check "naive otherwise" trains n
check "the strategy gives naive's losses" diff <(grep -o '"loss":[0-9.]\{7\}' s/metrics.jsonl) <(grep -o '"loss":[0-9.]\{7\}' n/metrics.jsonl)
check "and its checkpoints go on under naive" sh -c "'$run' -q train.ini run.output=c strategy.name=my_strategy run.stop_after=4 && '$run' -q train.ini run.output=c && [ \$(grep -c '\"loss\"' c/metrics.jsonl) -eq 16 ]"
check "the backend says what it can" exits 2 "it can only add" "$run" train.ini run.output=b run.backend=my_backend
check "a record with too few columns" sh -c "printf 'a\tb\n' >short.tsv"
check "names line and columns" exits 3 "short.tsv:1: 2 of 3 columns" "$run" train.ini run.output=x dataset.path=short.tsv
finish
