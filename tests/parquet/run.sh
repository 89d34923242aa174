#!/usr/bin/env bash
# A Parquet file as [dataset] path: the same training run as from the JSON file it was made from; bad files end with exit code 3.
. "$COATI_SRC/tests/e2e/lib.sh"
cd "$work" || exit 1
files=$COATI_SRC/tests/parquet/files
check "from JSON" "$run" -q train.ini run.output=json
check "from Parquet" "$run" -q train.ini dataset.path="$files/quickstart.parquet" run.output=parquet
check "are the same run" same_run json parquet
head -c 2000 "$files/quickstart.parquet" > cut.parquet
check "a file cut short" exits 3 "cut.parquet: expected 'PAR1' at its end" "$run" train.ini dataset.path=cut.parquet run.output=cut
cp "$files/quickstart.parquet" flipped.parquet
printf '\377' | dd of=flipped.parquet bs=1 seek=200 conv=notrunc 2>/dev/null
check "a damaged page" exits 3 "column instruction: page at byte 4: the page's checksum is" "$run" train.ini dataset.path=flipped.parquet run.output=flipped
check "has file, row and row group" grep -qE "flipped.parquet: row [0-9]+: row group 0: " out.log
finish
