#!/usr/bin/env bash
# [dataset] path and split: folders, globs, records held out, messages that name the right file and row.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1

grep '{' "$COATI_SRC/tools/quickstart/train.json" | sed -E 's/^\[//; s/,$//; s/\]$//' | head -n 60 > all.jsonl
mkdir parts
head -n 25 all.jsonl > parts/a.jsonl
: > parts/b.jsonl # an empty file among others is none of our business
tail -n +26 all.jsonl > parts/c.json # JSON Lines under the other name
echo "not data" > parts/notes.md
cp all.jsonl parts/.hidden.jsonl
check "one file"  "$run" -q train.ini dataset.path=all.jsonl run.output=one
check "a folder"  "$run" -q train.ini dataset.path=parts run.output=folder
check "a folder's files are one after another" same_run one folder
check "a glob"    "$run" -q train.ini "dataset.path=parts/[ac].json*" run.output=globbed
check "a glob's files are one after another" same_run one globbed
check "max_records counts all files" "$run" -q train.ini dataset.path=parts dataset.max_records=30 run.output=thirty
check "of thirty records" [ "$(grep -o '"samples":[0-9]*' thirty/metrics.jsonl | cut -d: -f2 | head -n 4 | awk "{ n += \$1 } END { print n }")" -eq 30 ]
check "no match"      exits 3 "no file matches" "$run" train.ini "dataset.path=parts/*.xyz"
mkdir nothing
check "empty folder"  exits 3 "no file whose ending" "$run" train.ini dataset.path=nothing
mkdir broken; cp parts/a.jsonl broken/; head -n 3 all.jsonl > broken/b.jsonl; echo '{"instruction":"x"' >> broken/b.jsonl
check "file and row of a broken record" exits 3 "broken/b.jsonl: row 4" "$run" train.ini dataset.path=broken dataset.shuffle=0 dataset.max_records=0
rm broken/b.jsonl; echo '{"instruction":"x"}' > broken/b.jsonl
check "file and row of a missing column" exits 3 'broken/b.jsonl: row 1: no column "output"' "$run" train.ini dataset.path=broken dataset.max_records=0 run.output=missing

check "a split run" "$run" -q train.ini dataset.path=all.jsonl dataset.split=0.8 run.output=split
check "evaluates" grep -q '"eval_loss":[0-9]' split/metrics.jsonl
epoch1() { grep -o '"epoch":[0-9.]*,.*"samples":[0-9]*' "$1" | awk -F'[:,]' '$2 <= 1 { n += $NF } END { print n }'; }
held=$(grep -o '"eval_samples":[0-9]*' split/metrics.jsonl | head -n 1 | cut -d: -f2)
check "each record is in one part: $held and $(epoch1 split/metrics.jsonl)" [ $((held + $(epoch1 split/metrics.jsonl))) -eq 60 ]
check "about a fifth is held out" [ "$held" -gt 4 -a "$held" -lt 24 ]
check "split and [dataset.eval]" exits 2 "use one of them" "$run" train.ini dataset.split=0.8 dataset.eval.path=all.jsonl
check "split of nonsense" exits 2 "between 0 and 1" "$run" train.ini dataset.split=95
check "split of [dataset.eval]" exits 2 "only [dataset] is split" "$run" train.ini dataset.eval.path=all.jsonl dataset.eval.split=0.5
loss=$(grep -o "\"loss\":[0-9.]*" split/metrics.jsonl | tail -n 1 | cut -d: -f2)
check "report.html holds the last loss" grep -qF "<b>$(printf %.4f "$loss")</b><span>last loss" split/report.html
check "and the records held out" grep -q "held-out records</td><td>$held of" split/report.html
finish
