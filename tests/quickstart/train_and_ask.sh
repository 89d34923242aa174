#!/usr/bin/env bash
# train_and_ask.sh SOURCE_DIR BIN_DIR: trains as tools/quickstart.sh does, twice with one seed (same bytes), and asks about
# prompts that are not in the training data.
set -uo pipefail
source=$1 bin=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0
check() { if [ "$1" = "$2" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "got \"$1\", want \"$2\""; fi; }

for run in a b; do
  "$bin/coati-run" "$source/tools/quickstart/train.ini" "run.output=$tmp/$run" log.progress=off || { echo "coati-run failed: $?"; exit 1; }
done
cmp "$tmp/a/model/model.safetensors" "$tmp/b/model/model.safetensors"
check $? 0
ask() {
  ! grep -qF "$1" "$source/tools/quickstart/train.json"
  check $? 0
  local got
  got=$("$bin/coati-generate" --model "$tmp/a/model" --prompt "$1" --temperature 0 --max-new-tokens 40)
  check "$got" "$2"
}
ask "What do the owl, the pig and the wolf say?" "The owl says hoot, the pig says oink and the wolf says howl."
ask "What do the wolf, the pig and the owl say?" "The wolf says howl, the pig says oink and the owl says hoot."
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
