#!/usr/bin/env bash
# coati-run from the command line: what it prints without running, overrides, how long it runs, what it writes and when.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
with_eval=(dataset.eval.path="$COATI_SRC/tools/quickstart/eval.json" dataset.eval.template=none dataset.eval.max_len=48)
is() { [ "$1" = "$2" ] || { echo "got \"$1\", want \"$2\""; return 1; }; }
steps() { grep -c '"loss":' "$1/metrics.jsonl"; }
values() { grep -o "\"$2\":[-0-9.e+]*" "$1/metrics.jsonl" | cut -d: -f2; }
same_losses() { is "$(values "$1" loss)" "$(values "$2" loss)"; }

# --check, --plan, --print-config: answers on stdout, nothing written.
check "--check" sh -c "'$run' --check train.ini 2>/dev/null | grep -qE '^ok: 60 records, 16 steps, [0-9]+ parameters$'"
check "--plan" sh -c "'$run' --plan train.ini > plan.txt 2>/dev/null"
check "--plan: predicts a step" grep -qE '^tokens/s, all ranks +[1-9][0-9]*$' plan.txt
printf '[speeds]\nproduct_fp32 = 1e6\nattention = 1e6\nattention_backward = 1e6\n' >slow.ini
seconds() { awk '$1 == "compute" { print $2 }' "$1"; }
operations() { sed -n 's/^compute.* \([0-9.e+]*\) operations$/\1/p' "$1"; }
"$run" --plan train.ini run.speeds=slow.ini >slow.txt 2>/dev/null
# At a million operations a second nothing else counts.
check "--plan: by given speeds" awk -v s="$(seconds slow.txt)" -v n="$(operations slow.txt)" 'BEGIN { q = s / n * 1e6; exit !(q > 0.99 && q < 1.01) }'
printf '[speeds]\nprodukt_16 = 1e6\n' >wrong.ini
check "a key of speeds that is not there" exits 2 'did you mean "product_16"' "$run" --plan train.ini run.speeds=wrong.ini
printf '[speeds]\nmemory = 0\n' >wrong.ini
check "a speed of 0" exits 2 "a speed of 0" "$run" --plan train.ini run.speeds=wrong.ini
check "--plan: names what trains" grep -qE '^model llama, [0-9]+ parameters, [0-9]+ of them trained; 60 records; 16 steps of up to 2 micro-steps' plan.txt
"$run" --print-config train.ini > printed.ini 2>/dev/null
check "--print-config: every section" is "$(grep -c '^\[' printed.ini)" "$(grep '^\[' printed.ini | sort -u | wc -l)"
check "nothing was written" [ ! -e out ]
check "--print-config: what was set" grep -qx 'max_records = 60' printed.ini
check "--print-config: defaults too" grep -qx 'warmup_ratio = 0.03' printed.ini
check "--print-config: paths that hold from anywhere" grep -qx "path = $COATI_SRC/tools/quickstart/train.json" printed.ini
mkdir elsewhere; cp printed.ini elsewhere/
check "printed again, the same" sh -c "'$run' --print-config elsewhere/printed.ini 2>/dev/null | cmp - printed.ini"
check "--print-config shows overrides" sh -c "'$run' --print-config train.ini optimizer.lr=0.125 2>/dev/null | grep -qx 'lr = 0.125'"
check "--list" sh -c "'$run' --list | grep -qE '^model +llama '"

check "a run" "$run" -q train.ini
check "the plan's total is what the run took" is "$(awk '$1 == "total" { print $2 }' plan.txt)" "$(values out mem_device_bytes | sort -u)"
check "config.ini is what --print-config says" cmp out/config.ini printed.ini
check "the printed configuration runs again" "$run" -q elsewhere/printed.ini run.output="$work/again"
check "to the same bits" same_run out again

# metrics.jsonl: these fields, in this order, and evaluation lines without "loss".
n='-?[0-9][0-9.e+-]*'
train_line="^\{\"step\":[0-9]+,\"epoch\":$n,\"loss\":$n,\"lr\":$n,\"grad_norm\":$n,\"tokens\":[0-9]+,\"samples\":[0-9]+,\"tokens_per_s\":$n,\"step_s\":$n,\"data_wait_s\":$n,\"mem_device_bytes\":[0-9]+,\"mem_host_bytes\":[0-9]+\}$"
check "metrics.jsonl: a line a step, all fields" is "$(grep -cE "$train_line" out/metrics.jsonl)" 16
check "and nothing else" is "$(wc -l < out/metrics.jsonl)" 16
check "steps are counted from 1" is "$(values out step | tr '\n' ' ')" "$(seq -s ' ' 16) "
check "epochs" is "$(values out epoch | sed -n '8p;16p' | tr '\n' ' ')" "1 2 "
check "the files of a run" is "$(ls out | tr '\n' ' ')" "checkpoints config.ini metrics.jsonl model prediction.json report.html tensorboard "
held() { grep -o "\"$1\":{[^}]*" out/prediction.json | grep -o "\"$2\":[0-9.e+-]*" | cut -d: -f2; } # held WHAT predicted|measured
check "prediction.json: a time predicted and one measured" awk -v p="$(held step_s predicted)" -v m="$(held step_s measured)" 'BEGIN { exit !(p > 0 && m > 0) }'
check "and the memory, as planned" is "$(held memory_bytes predicted)" "$(held memory_bytes measured)"
check "log.every" "$run" -q train.ini run.output=sparse log.every=5
check "every fifth step, and the last" is "$(values sparse step | tr '\n' ' ')" "5 10 15 16 "

# Overrides: the command line wins, the last one too.
check "overrides" "$run" -q train.ini run.output=lr optimizer.lr=1 optimizer.lr=2e-3 schedule.name=constant schedule.warmup_ratio=0
check "the last one counts" is "$(values lr lr | sort -u)" 0.002
check "linear" "$run" -q train.ini run.output=linear schedule.name=linear schedule.warmup_ratio=0 run.max_steps=4
check "linear: the rates" is "$(values linear lr | awk '{ printf "%.6f ", $1 }')" "0.001000 0.000750 0.000500 0.000250 "
check "schedule.steps" "$run" -q train.ini run.output=longer schedule.name=linear schedule.warmup_ratio=0 run.max_steps=4 schedule.steps=8
check "schedule.steps: the rates" is "$(values longer lr | awk '{ printf "%.6f ", $1 }')" "0.001000 0.000875 0.000750 0.000625 "

# How long.
check "max_steps cycles the data" "$run" -q train.ini run.output=cycled run.max_steps=20 run.epochs=1
check "twenty steps, into the third pass" is "$(steps cycled) $(values cycled epoch | tail -n 1 | cut -c 1-3)" "20 2.5"
check "max_steps may end a pass early" "$run" -q train.ini run.output=early run.max_steps=3
check "three steps and a model" sh -c "[ \$(wc -l < early/metrics.jsonl) -eq 3 ] && [ -e early/model/model.safetensors ]"
check "stop_after leaves no model" sh -c "'$run' -q train.ini run.output=stopped run.stop_after=3 && [ ! -e stopped/model ] && [ -e stopped/checkpoints/step-3/state.json ]"
check "stop_after keeps the schedule" is "$(values stopped lr)" "$(values out lr | head -n 3)"
check "more epochs on resume" "$run" -q train.ini run.output=early run.max_steps=5
check "go on from the third step" is "$(values early step | tr '\n' ' ')" "1 2 3 4 5 "
check "save_model = 0" sh -c "'$run' -q train.ini run.output=unsaved run.save_model=0 && [ ! -e unsaved/model ] && [ -e unsaved/report.html ]"
check "save_model = 0: the same losses" same_losses out unsaved

# Checkpoints.
check "every 3, the newest 2, and the end" is "$(ls out/checkpoints | tr '\n' ' ')" "step-15 step-16 "
check "keep = 1" sh -c "'$run' -q train.ini run.output=kept checkpoint.keep=1 && [ \"\$(ls kept/checkpoints)\" = step-16 ]"
check "every = 0: only at the end" sh -c "'$run' -q train.ini run.output=last checkpoint.every=0 checkpoint.keep=9 && [ \"\$(ls last/checkpoints)\" = step-16 ]"
check "every = never: none" sh -c "'$run' -q train.ini run.output=none checkpoint.every=never && [ ! -e none/checkpoints ] && [ -e none/model/config.json ]"
check "a whole run again: nothing to do, the same model" sh -c "cp out/model/model.safetensors m && '$run' -q train.ini && cmp m out/model/model.safetensors && [ \$(wc -l < out/metrics.jsonl) -eq 16 ]"
check "--no-resume"  exits 2 "--resume goes on with it" "$run" train.ini --no-resume
check "checkpoint.resume = never" exits 2 "--resume goes on with it" "$run" train.ini checkpoint.resume=never
check "--resume without a checkpoint" exits 2 "no checkpoint" "$run" train.ini --resume run.output=new
check "resuming with another seed" exits 2 '[run] seed was "42"' "$run" train.ini run.seed=1
check "resuming with held-out data" exits 2 "[dataset.eval] path was not there" "$run" train.ini "${with_eval[@]}"
check "nothing was changed by these" sh -c "cmp m out/model/model.safetensors && cmp out/config.ini printed.ini"
check "--overwrite" "$run" -q train.ini --overwrite run.max_steps=2
check "starts anew" is "$(steps out) $(ls out/checkpoints | tr '\n' ' ')" "2 step-2 "

# Evaluation.
eval_line="^\{\"step\":[0-9]+,\"epoch\":$n,\"eval_loss\":$n,\"eval_perplexity\":$n,\"eval_tokens\":[0-9]+,\"eval_samples\":[0-9]+\}$"
evals() { grep -E "$eval_line" "$1/metrics.jsonl" | grep -o '"step":[0-9]*' | cut -d: -f2 | tr '\n' ' '; }
check "held-out data" "$run" -q train.ini run.output=e "${with_eval[@]}"
check "every = 0: at each epoch's end" is "$(evals e)" "8 16 "
check "all of it" is "$(values e eval_samples | sort -u)" 100
check "evaluation changes nothing" same_losses again e
check "every = 5" "$run" -q train.ini run.output=e5 "${with_eval[@]}" eval.every=5 eval.batches=2
check "every 5 steps, and the end" is "$(evals e5)" "5 10 15 16 "
check "batches = 2: of 8 samples" is "$(values e5 eval_samples | sort -u)" 16
check "no held-out data, no evaluation" is "$(grep -c eval_ again/metrics.jsonl)" 0

# On a terminal one line that moves; elsewhere plain lines; nothing with -q.
if command -v script >/dev/null; then
  script -qec "'$run' train.ini run.output=tty run.max_steps=3" typescript >/dev/null 2>&1
  bar=$(printf '\r#############....... step 2/3  loss ')
  check "a bar" grep -qF "$bar" typescript
  check "loss, lr, tokens/s, memory, time left" grep -qE 'step 3/3  loss [0-9.]+  lr [0-9.e+-]+  grad_norm [0-9.e+-]+  [0-9]+ tokens/s  [0-9.]+ GiB  [0-9:]+ left' typescript
  check "rewritten in place" [ "$(grep -c 'step 1/3' typescript)" -le 1 ]
fi
check "plain lines" sh -c "'$run' train.ini run.output=plain run.max_steps=3 2>&1 >/dev/null | grep -cE '^step [123]/3  loss ' | grep -qx 3"
check "log.trace" "$run" -q train.ini run.output=traced run.max_steps=2 log.trace=1
check "a span each step" is "$(grep -cE '"name":"step [12]","cat":"step","ph":"X","ts":[0-9.]+,"dur":[0-9.]+,"pid":0' traced/trace.json)" 2
for span in '"block/forward 1","cat":"unit"' '"block/backward 1","cat":"unit"' '"batch of step 1","cat":"data"' '"checkpoint of step 2","cat":"step"' '"step 2","cat":"strategy"'; do
  check "a span $span" grep -qF "$span" traced/trace.json
done
check "whole to its end" is "$(tail -n 1 traced/trace.json)" "]"
check "no trace unless asked for" [ ! -e plain/trace.json ]
check "-q: silence" sh -c "[ -z \"\$('$run' -q train.ini run.output=silent run.max_steps=2 2>&1)\" ]"
check "--help" sh -c "'$run' --help | grep -q -- --print-config"
check "--version" sh -c "'$run' --version | grep -qE '^coati-run [0-9]'"
finish
