#!/usr/bin/env bash
# [dataset] sources, compressed and plain text, column names within columns, counts of what was passed over, waiting for data.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1

grep '{' "$COATI_SRC/tools/quickstart/train.json" | sed -E 's/^\[//; s/,$//; s/\]$//' | head -n 60 > all.jsonl
gzip -k all.jsonl
one() { "$run" -q train.ini dataset.path="$1" run.output="$2"; }
check "plain"              one all.jsonl plain
check "gzip"               one all.jsonl.gz gz
check "gzip, the same run" same_run plain gz
mv all.jsonl.gz all.data
check "gzip by content under any name" "$run" -q train.ini dataset.path=all.data dataset.format=jsonl run.output=data
check "the same run again" same_run plain data
head -c 900 all.data > cut.jsonl.gz
check "a cut gzip file" exits 3 "cut.jsonl.gz: the file ends at byte 900 in the middle of its gzip stream" "$run" train.ini dataset.path=cut.jsonl.gz
check "and nothing was begun" [ ! -e out ]

# Waiting for data
check "data_wait_s in each line" [ "$(grep -c '"data_wait_s":[0-9]' plain/metrics.jsonl)" -eq "$(grep -c '"loss"' plain/metrics.jsonl)" ]
check "and summed up at the end" exits 0 "% of the time after the first step" "$run" train.ini dataset.path=all.jsonl run.output=waits log.progress=plain

# Broken records are counted once, over two passes.
sed '5s/.*/{"instruction":/; 9s/.*/nonsense/' all.jsonl > holes.jsonl
check "broken records count once" exits 0 "2 broken records passed over" "$run" train.ini dataset.path=holes.jsonl dataset.on_bad_record=skip run.output=holes log.progress=plain

# Plain text
printf 'One line of text.\n\nAnother paragraph\nof two lines.\n\nA third.\n' > text.txt
check "text by paragraphs" exits 0 "ok: 3 records" "$run" --check train.ini dataset.path=text.txt dataset.columns=output=text dataset.records=paragraph
check "text by lines"      exits 0 "ok: 4 records" "$run" --check train.ini dataset.path=text.txt dataset.columns=output=text dataset.records=line
check "text as files"      exits 0 "ok: 1 records" "$run" --check train.ini dataset.path=text.txt dataset.columns=output=text
mkdir mixed; cp all.jsonl mixed; cp text.txt mixed/README.txt
check "text beside records" exits 2 "mixed/README.txt') beside records ('" "$run" train.ini dataset.path=mixed
check "unless the format is named" exits 0 "ok: 60 records" "$run" --check train.ini dataset.path=mixed dataset.format=jsonl

# Several sources
head -n 40 all.jsonl > web.jsonl
tail -n 20 all.jsonl | sed -E 's/"instruction":/"q":/; s/"output":("[^"]*")/"reply":{"text":\1}/' > talk.jsonl
sed -E '/^path = .*train.json$/d; /^max_records/d; s/^\[dataset\]$/[dataset]\nsources = web=1, talk=3/' train.ini > mix.ini
cat >> mix.ini <<INI
[dataset.web]
path = web.jsonl
[dataset.talk]
path = talk.jsonl
columns = instruction=q,input=input,output=reply.text
INI
check "counts and shares in --check" exits 0 "source talk: 20 records, 45 samples a pass" "$run" --check mix.ini
check "and in --plan" exits 0 "source web: 40 records, 15 samples a pass" "$run" --plan mix.ini
check "looking writes nothing" [ ! -e out ]
check "a mixed run" "$run" -q mix.ini
check "its samples: two passes of 60" [ "$(grep -o '"samples":[0-9]*' out/metrics.jsonl | cut -d: -f2 | awk '{ n += $1 } END { print n }')" -eq 120 ]
check "the report counts by source" grep -q 'talk: 20 records, 45 samples a pass' out/report.html
"$run" -q mix.ini run.output=again run.stop_after=4 checkpoint.every=4
"$run" -q mix.ini run.output=again run.stop_after=0 checkpoint.every=4
check "a resumed mixed run is the same" same_run out again
cp -r again other; rm -r other/model
check "other weights are another run" exits 2 "sources" "$run" mix.ini "dataset.sources=web=1,talk=2" run.output=again --resume
check "split by source" exits 0 "samples a pass" "$run" --check mix.ini dataset.split=0.8
check "no section"     exits 2 "there is no section [dataset.gone]" "$run" mix.ini dataset.sources=web=1,gone=1
check "half weighted"  exits 2 "give every source a weight, or none" "$run" mix.ini dataset.sources=web=1,talk
check "a bad weight"   exits 2 "a weight is a number above 0" "$run" mix.ini dataset.sources=web=0,talk=1
check "twice"          exits 2 "a name is there twice" "$run" mix.ini dataset.sources=web,web
check "path besides"   exits 2 "has both path and sources" "$run" mix.ini dataset.path=web.jsonl
check "neither"        exits 2 "[dataset] path: required" "$run" mix.ini dataset.sources=
check "unweighted: each record once" exits 0 "source talk: 20 records, 20 samples a pass" "$run" --check mix.ini dataset.sources=web,talk
check "the row of a source's file" exits 3 "holes.jsonl: row 5" "$run" mix.ini dataset.web.path=holes.jsonl dataset.shuffle=0 run.output=h
finish
