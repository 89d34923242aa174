#!/usr/bin/env bash
# Each kind of bad input: the promised exit code, a message that says where and what, nothing written.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1

ini() { printf '%s\n' "$@" > bad.ini; cat train.ini >> bad.ini; }
check "no file"          exits 2 "no file 'nowhere.ini'" "$run" nowhere.ini
check "no argument"      exits 2 "which INI file" "$run"
check "unknown option"   exits 2 "--help" "$run" --nonsense
check "unknown key"      exits 2 'did you mean "lr"?' "$run" train.ini optimizer.lrr=1
check "unknown section"  exits 2 'did you mean [optimizer]?' "$run" train.ini optimiser.lr=1
check "not a number"     exits 2 "expected a number" "$run" train.ini optimizer.lr=fast
check "out of range"     exits 2 "out of range" "$run" train.ini batch.size=0
check "not in the list"  exits 2 'did you mean "cosine"?' "$run" train.ini schedule.name=cosin
check "no such plugin"   exits 2 'no strategy plugin "zero9" found; installed: naive' "$run" train.ini strategy.name=zero9
check "not offered"      exits 2 "not offered" "$run" train.ini run.stage=ppo
ini '[run]' 'seed = 1' 'seed = 2'
check "repeated key"     exits 2 "bad.ini:3: [run] seed: set before" "$run" bad.ini
ini 'seed = 1'
check "before a section" exits 2 "bad.ini:1" "$run" bad.ini
ini '[run]' "seed = $(printf '1%.0s' $(seq 250))"
check "long line"        exits 2 "bad.ini:2: a line of" "$run" bad.ini
ini '[run]' 'this is not ini'
check "no key = value"   exits 2 "bad.ini:2" "$run" bad.ini
ini '[run]' 'seed = ${COATI_NO_SUCH_VARIABLE}'
check "unset variable"   exits 2 "COATI_NO_SUCH_VARIABLE" "$run" bad.ini
check "max_len too long" exits 2 "max_len" "$run" train.ini dataset.max_len=1000000

echo '{"instruction":"a","output":"b"}' > rec.jsonl
echo '{"instruction":"a", broken' >> rec.jsonl
check "broken record"    exits 3 "rec.jsonl" "$run" train.ini dataset.path=rec.jsonl
check "skip broken"      exits 0 "" "$run" train.ini dataset.path=rec.jsonl dataset.on_bad_record=skip run.output=skipped
: > empty.jsonl
check "empty dataset"    exits 3 "empty" "$run" train.ini dataset.path=empty.jsonl
echo '{"question":"a","output":"b"}' > col.jsonl
check "missing column"   exits 3 "instruction" "$run" train.ini dataset.path=col.jsonl
check "no such dataset"  exits 3 "no file" "$run" train.ini dataset.path=nowhere.jsonl
cp rec.jsonl data.xyz
check "unknown ending"   exits 2 "set format" "$run" train.ini dataset.path=data.xyz

golden=$COATI_SRC/tests/golden/llama/gqa_tied
model() { rm -rf m; mkdir m; cp "$golden"/config.json "$golden"/model.safetensors "$COATI_SRC"/tools/quickstart/model/tokenizer.model m/; }
with() { "$run" train.ini model.path=m model.init=pretrained dataset.max_len=16 "$@"; }
model; check "foreign tokenizer"  exits 3 "do not belong together" with
model; rm m/model.safetensors; check "no weights" exits 3 "m" with
model; head -c 2000 m/model.safetensors > m/x; mv m/x m/model.safetensors; check "truncated weights" exits 3 "model.safetensors" with
model; printf '\377\377\377\377\377\377\377\177' | dd of=m/model.safetensors conv=notrunc 2>/dev/null; check "lying header" exits 3 "model.safetensors" with
model; sed -i 's/"intermediate_size": [0-9]*/"intermediate_size": 99/' m/config.json; check "config against weights" exits 3 "intermediate_size" with
model; echo '{' > m/config.json; check "broken config" exits 3 "config.json" with
model; sed -i 's/"model_type": "llama"/"model_type": "mamba"/' m/config.json; check "unknown architecture" exits 3 'model_type "mamba"' with
check "nothing was written" [ ! -e out ]

mkdir -p busy/model; echo keep > busy/model/keep
check "an earlier run's files" exits 2 "--overwrite" "$run" train.ini run.output=busy
check "are still there" grep -q keep busy/model/keep
check "trains" "$run" -q train.ini run.output=done
check "changed configuration" exits 2 "[optimizer] lr was" "$run" train.ini run.output=done optimizer.lr=0.5
check "changed seed"          exits 2 "[run] seed was" "$run" train.ini run.output=done run.seed=5
check "nothing to resume"     exits 2 "no checkpoint" "$run" train.ini run.output=fresh --resume
# A file-size limit stands in for a full disk: the write fails in the middle of the weights.
full() { (ulimit -f 64; trap '' XFSZ; "$run" -q train.ini run.output=full checkpoint.every=2); }
check "disk full" bash -c "true"; full >"$work/full.log" 2>&1; code=$?
check "disk full: exit 1 or 4" bash -c "[ $code -eq 1 ] || [ $code -eq 4 ]"
check "disk full: says where" grep -q "full/checkpoints" "$work/full.log"
check "disk full: no half checkpoint" bash -c '! ls full/checkpoints/step-* 2>/dev/null'
check "and goes on when there is room" "$run" -q train.ini run.output=full checkpoint.every=2
finish
