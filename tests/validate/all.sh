#!/usr/bin/env bash
# all.sh PLUGIN_DIR: every plugin of this build passes coati-validate. A new dataset or tokenizer gets a line in data_of.
. "$COATI_SRC/tests/e2e/lib.sh"
cd "$work" || exit 1
validate=$COATI_BIN/coati-validate
data_of() {
  case $1 in
    coati-dataset-jsonl.so) echo "--data $COATI_SRC/tests/fuzz/json/lines.jsonl" ;;
    coati-dataset-json.so) echo "--data $COATI_SRC/tools/quickstart/eval.json" ;;
    coati-tokenizer-sentencepiece.so) echo "--data $COATI_SRC/tests/tokenizers/tiny" ;;
  esac
}
n=0
for so in "$1"/coati-*.so; do
  name=$(basename "$so")
  case $name in *-cuda.so | *-nccl.so) continue ;; esac # need a device
  check "$name" "$validate" $(data_of "$name") "$so"
  n=$((n + 1))
done
check "several were there" [ "$n" -ge 10 ]
finish
