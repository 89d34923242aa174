#!/usr/bin/env bash
# Is what a run leaves a model that transformers opens and computes alike? Two runs: stories260K fine-tuned, and a random start
# of the quickstart's model. Each model/ is opened by transformers, which must agree with coati-generate's log-probabilities of
# 100 tokens.
#   tests/golden/check_run.sh SHARED_DATA [PYTHON]     (programs are taken from build/release, or $COATI_BIN)
set -euo pipefail
src=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
data=$(cd "${1:?which folder holds the shared data?}" && pwd) python=${2:-python3}
bin=${COATI_BIN:-$src/build/release/bin}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

check() { # check NAME: the model in NAME/model
  "$bin/coati-generate" --model "$1/model" --prompt "" --max-new-tokens 100 --json > "$1.json"
  echo -n "$1: "
  "$python" "$src/tests/golden/check_model_dir.py" "$1/model" --generated "$1.json"
}
cat > sft.ini <<INI
[run]
output = stories260K
max_steps = 10
[model]
path = $data/models/stories260K
[dataset]
path = $data/sft/llamafactory_alpaca_en_demo.json
max_len = 256
[batch]
size = 4
accumulation = 2
[optimizer]
lr = 1e-3
INI
"$bin/coati-run" -q sft.ini
check stories260K
"$bin/coati-run" -q "$src/tools/quickstart/train.ini" run.output="$work/quickstart" run.max_steps=20
check quickstart
