#!/usr/bin/env bash
# From a bare Debian 12 to a fine-tuned model that answers: packages, build, training on the CPU, one prompt. Nothing is
# downloaded beyond the packages; a wrong answer makes the script fail.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

prompt="What do the owl, the pig and the wolf say?"
answer="The owl says hoot, the pig says oink and the wolf says howl."
bin=build/release/bin
out=build/quickstart
say() { printf '\n== %s\n' "$*"; }
fail() { echo "quickstart: $*" >&2; exit 1; }

say "1/4 packages"
tools/deps.sh

say "2/4 build (build/release)"
mkdir -p build
cmake --preset release >build/quickstart.log 2>&1 && cmake --build --preset release -j "$(nproc)" >>build/quickstart.log 2>&1 ||
  { tail -30 build/quickstart.log >&2; fail "the build failed; all of it is in build/quickstart.log"; }
echo "programs in $bin, plugins in build/release/lib/coati/1"

say "3/4 training a tiny LLaMA from random weights: tools/quickstart/train.ini"
progress=auto # a bar on a terminal; elsewhere the table below is enough
[ -t 1 ] || progress=off
"$bin/coati-run" --overwrite tools/quickstart/train.ini log.progress=$progress

# Training lines of metrics.jsonl; evaluation lines carry no "loss".
losses=$(sed -nE 's/^\{"step": *([0-9]+).*[{,] *"loss": *([0-9.eE+-]+).*/\1 \2/p' "$out/metrics.jsonl")
awk '{ printf "step %4d  loss %.4f\n", $1, $2 }' <<<"$losses"
first=$(head -1 <<<"$losses" | cut -d' ' -f2)
last=$(tail -1 <<<"$losses" | cut -d' ' -f2)
awk -v a="$first" -v b="$last" 'BEGIN { exit !(a != "" && b < a / 4) }' || fail "the loss did not fall as it should"

say "4/4 a prompt that is not in the training data"
! grep -qF "$prompt" tools/quickstart/train.json tools/quickstart/eval.json || fail "the prompt is in the data"
echo "prompt: $prompt"
got=$("$bin/coati-generate" --model "$out/model" --prompt "$prompt" --temperature 0 --max-new-tokens 40)
echo "answer: $got"
# Greedy, so the same every time.
[ "$got" = "$answer" ] || fail "wrong answer; expected: $answer"

say "done"
cat <<END
model, a Hugging Face directory   $out/model
losses of every step              $out/metrics.jsonl
configuration as it ran           $out/config.ini
data, tokenizer, train.ini        tools/quickstart
try also:  $bin/coati-generate --model $out/model --prompt "What do the cat, the bee and the lion say?"
END
