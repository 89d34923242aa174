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
ini '[include]' 'path = gone.ini'
check "bad include"      exits 2 "bad.ini:2: [include] path: no file '$work/gone.ini'" "$run" bad.ini
ini '[include]' 'path = bad.ini'
check "includes itself"  exits 2 "files include each other" "$run" bad.ini
ini '[optimiser]' 'lr = 1'
check "unknown section in a file" exits 2 'bad.ini:2: [optimiser]: unknown section, did you mean [optimizer]?' "$run" bad.ini
ini '[optimizer]' 'lrr = 1'
check "unknown key in a file" exits 2 'bad.ini:2: [optimizer] lrr: unknown key, did you mean "lr"?' "$run" bad.ini
ini '[eval]' 'every = 1.5'
check "wrong type in a file" exits 2 'bad.ini:2: [eval] every = 1.5: expected a whole number' "$run" bad.ini
ini '[schedule]' 'warmup_ratio = 2'
check "out of range in a file" exits 2 'bad.ini:2: [schedule] warmup_ratio = 2: out of range, 0 to 1 is allowed' "$run" bad.ini
check "a GPU of a backend without" exits 2 '[run] device = 1: backend cpu has no devices to choose from' "$run" --check train.ini run.device=1
check "deterministic, as the CPU always is" "$run" -q --check train.ini run.deterministic=1
ini '[backend]' 'threads = -1'
check "a plugin's key out of range" exits 2 'bad.ini:2: [backend] threads = -1: out of range, 0 to 1024 is allowed' "$run" bad.ini
grep -v '^output' train.ini > no_output.ini
check "a required key"     exits 2 '[run] output: required, and not set' "$run" no_output.ini
check "a folder for a file" exits 2 "no file '$work'" "$run" "$work"
check "no section.key=value" exits 2 '"lr=1": expected section.key=value' "$run" train.ini lr=1
check "no such model"    exits 2 "[model] path: no file or folder '$work/gone'" "$run" train.ini model.path=gone
check "wrong checkpoint.every" exits 2 "[checkpoint] every = often" "$run" train.ini checkpoint.every=often
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

while IFS='|' read -r record text; do # each as row 2 of a file of three
  printf '%s\n' '{"instruction":"a","output":"b"}' "$record" '{"instruction":"c","output":"d"}' > rec.jsonl
  check "stop at $record" exits 3 "rec.jsonl: row 2" "$run" train.ini dataset.path=rec.jsonl
  check "$record: why" grep -qF -- "$text" out.log
  check "$record: skipped" exits 0 "2 used" "$run" train.ini dataset.path=rec.jsonl dataset.on_bad_record=skip run.output=passed run.epochs=1
  check "$record: counted" grep -qF "1 broken records passed over" out.log
  rm -rf passed
done <<'END'
{"instruction":"a","output":"b"|line 2, byte 64): expected ',' or '}', found the end of the line
{"instruction":"a","output":"b"} x|expected the end of the line after the record, found 'x'
{"instruction":"a" "output":"b"}|expected
{"instruction":"a","output":null}|column "output": expected a string, found null
{"instruction":["a"],"output":"b"}|column "instruction": expected a string, found an array
{"instruction":"a"}|no column "output"
"text"|expected '{' of an object
nonsense|expected
{"instruction":"\x","output":"b"}|byte
END
printf '{"instruction":"a","output":"b\xff"}\n' > rec.jsonl
check "not UTF-8" exits 3 "well-formed UTF-8, found byte 0xff" "$run" train.ini dataset.path=rec.jsonl
while IFS='|' read -r text says; do
  printf '%s' "$text" > rec.json
  check "array: $text" exits 3 "$says" "$run" train.ini dataset.path=rec.json
done <<'END'
[{"instruction":"a","output":"b"},{"instruction":"a","output":"b"]|rec.json: row 2 (line 1, byte 65)
[{"instruction":"a","output":"b"} {"instruction":"a","output":"b"}]|rec.json: row 1 (line 1, byte 34): expected ',' or ']'
[{"instruction":"a","output":"b"},|rec.json: row
[|rec.json: row 1
[]|rec.json: the dataset is empty: it has no record
{}|rec.json: row 1: no format that is known has these columns: the record has none
END
printf 'a\nb\n' > none.jsonl
check "none left" exits 3 "none of the 2 records can be used" "$run" train.ini dataset.path=none.jsonl dataset.on_bad_record=skip
shared=${COATI_SHARED:-$COATI_SRC/../shared}/data/sft/instructionwild_user_2.jsonl
if [ -f "$shared" ]; then
  real() { "$run" train.ini dataset.path="$shared" dataset.columns=instruction=instruction,output=instruction dataset.max_records=0 dataset.shuffle=0 run.epochs=1 "$@"; }
  check "a real file with broken lines" exits 3 "instructionwild_user_2.jsonl: row 134 (line 134, byte 26238): expected one of" real run.output=stopped
  check "both passed over" exits 0 "2 broken records passed over" real dataset.on_bad_record=skip run.output=real
  check "both named" sh -c "grep -q 'row 134 ' out.log && grep -q 'row 168 ' out.log"
else
  echo "skipped the shared dataset: it is not there"
fi
check "nothing was written" [ ! -e out ]

# ---- output
: > file
check "an output under a file" exits 1 "cannot make the folder '$work/file': Not a directory" "$run" train.ini run.output=file/out
check "an output that is a file" exits 1 "$work/file" "$run" train.ini run.output=file
check "an output nobody may make" exits 1 "/proc/coati" "$run" train.ini run.output=/proc/coati/out
check "the file is as it was" [ ! -s file ]
if [ "$(id -u)" -ne 0 ]; then
  mkdir locked; chmod 500 locked
  check "no permission" exits 1 "Permission denied" "$run" train.ini run.output=locked/out
fi
mkdir -p blocked/config.ini
check "a folder where a file goes" exits 1 "blocked/config.ini" "$run" train.ini run.output=blocked

mkdir -p busy/model; echo keep > busy/model/keep
check "an earlier run's files" exits 2 "--overwrite" "$run" train.ini run.output=busy
check "are still there" grep -q keep busy/model/keep
check "trains" "$run" -q train.ini run.output=done
check "changed configuration" exits 2 "[optimizer] lr was" "$run" train.ini run.output=done optimizer.lr=0.5
check "changed seed"          exits 2 "[run] seed was" "$run" train.ini run.output=done run.seed=5
check "nothing to resume"     exits 2 "no checkpoint" "$run" train.ini run.output=fresh --resume
finish
