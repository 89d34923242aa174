#!/usr/bin/env bash
# coati-eval: the held-out loss a run reports, from the model it leaves; adapters; one JSON object; exit codes.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
eval=$COATI_BIN/coati-eval
held=$COATI_SRC/tools/quickstart/eval.json

check "a run" "$run" -q train.ini dataset.eval.path="$held" dataset.eval.template=none dataset.eval.max_len=48
reported() { grep -o "\"$1\":[-0-9.e+]*" "$2" | tail -n 1 | cut -d: -f2; }
same_value() { [ -n "$1" ] && [ "$1" = "$2" ] || { echo "got $1, want $2"; return 1; }; } # 17 digits: to the bit
ev() { "$eval" --model out/model --dataset "$held" --template none --max-len 48 "$@"; }
ev --batch 4 > one.json
check "one JSON object" [ "$(wc -l < one.json)" -eq 1 ]
check "nothing else, all fields" grep -qE '^\{"model":"[^"]*/out/model","dataset":"[^"]*eval.json","loss":[0-9.]+,"perplexity":[0-9.]+,"labels":[0-9]+,"tokens":[0-9]+,"samples":100,"cut":0,"dropped":0,"bad":0\}$' one.json
check "the run's eval_loss" same_value "$(reported loss one.json)" "$(reported eval_loss out/metrics.jsonl)"
check "the run's eval_perplexity" same_value "$(reported perplexity one.json)" "$(reported eval_perplexity out/metrics.jsonl)"
check "the run's eval_tokens" same_value "$(reported tokens one.json)" "$(reported eval_tokens out/metrics.jsonl)"
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(a > 0 && d < 1e-6 * a && -d < 1e-6 * a) }' || { echo "$1 against $2"; return 1; }; }
for n in 1 7 100; do
  check "--batch $n: the same loss" near "$(ev --batch $n | grep -o '"loss":[0-9.]*' | cut -d: -f2)" "$(reported loss one.json)"
done
check "--max-records 3" [ "$(ev --max-records 3 | grep -o '"samples":[0-9]*')" = '"samples":3' ]
check "--max-len cuts, and counts" sh -c "'$eval' --model out/model --dataset '$held' --template none --max-len 20 | grep -qE '\"cut\":[1-9]'"
check "max_len is the model's own by default" "$eval" --model out/model --dataset "$held" --template none

check "a split run" "$run" -q train.ini run.output=split dataset.split=0.8
check "evaluates what the split held out" near \
  "$("$eval" --model split/model --dataset "$COATI_SRC/tools/quickstart/train.json" --template none --max-len 48 --max-records 60 --batch 4 dataset.split=0.8 | grep -o '"loss":[0-9.]*' | cut -d: -f2)" \
  "$(reported eval_loss split/metrics.jsonl)"

check "an adapter" "$run" -q train.ini run.output=lora model.path=out/model model.init=pretrained lora.rank=4 lora.merge=1 dataset.eval.path="$held" dataset.eval.template=none dataset.eval.max_len=48
check "--adapter: the run's eval_loss" same_value "$(ev --batch 4 --adapter lora/adapter | grep -o '"loss":[0-9.]*' | cut -d: -f2)" "$(reported eval_loss lora/metrics.jsonl)"
check "the merged model's is near" near "$("$eval" --model lora/model --dataset "$held" --template none --max-len 48 | grep -o '"loss":[0-9.]*' | cut -d: -f2)" "$(reported eval_loss lora/metrics.jsonl)"

check "no model"       exits 2 "--model DIR is missing" "$eval" --dataset "$held"
check "no dataset"     exits 2 "--dataset FILE is missing" "$eval" --model out/model
check "unknown option" exits 2 "--help" "$eval" --nonsense
check "not a number"   exits 2 "max_len" ev --max-len many
check "too long"       exits 2 "beyond the model's 128 positions" ev --max-len 500
check "unknown key"    exits 2 "unknown key" ev dataset.pfad=x
check "no such model"  exits 2 "nowhere" "$eval" --model nowhere --dataset "$held"
check "no such data"   exits 3 "no file" "$eval" --model out/model --dataset nowhere.json
printf '{"instruction":"a","output":"b"}\n{"instruction":"a", broken\n' > broken.jsonl
check "a broken record" exits 3 "broken.jsonl: row 2" "$eval" --model out/model --dataset broken.jsonl
check "passed over and counted" sh -c "'$eval' -q --model out/model --dataset broken.jsonl --template none --on-bad-record skip | grep -q '\"samples\":1,.*\"bad\":1'"
check "no label left"  exits 3 "within max_len = 2" "$eval" --model out/model --dataset "$held" --template none --max-len 2
check "--help" sh -c "'$eval' --help | grep -q usage"
check "--version" sh -c "'$eval' --version | grep -q '^coati-eval [0-9]'"
check "a full disk is said" exits 4 "stdout" sh -c "'$eval' --model out/model --dataset '$held' --template none > /dev/full"
finish
