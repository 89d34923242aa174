#!/usr/bin/env bash
# Fine-tunes stories260K on the Alpaca demo set, every tenth record held out, here and in transformers on the very same
# batches, and compares the held-out losses: they must agree within 2 %. Then the same run again: the same bits.
#   tests/golden/sft_alpaca.sh SHARED_DATA [PYTHON]     (coati-run is taken from build/release, or $COATI_BIN)
set -euo pipefail
src=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
data=$(cd "${1:?which folder holds the shared data?}" && pwd) python=${2:-python3}
bin=${COATI_BIN:-$src/build/release/bin}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} # on a busy machine spinning threads take ten times as long
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"$python" - "$data/sft/llamafactory_alpaca_en_demo.json" <<'PY'
import json, sys
records = json.load(open(sys.argv[1]))
json.dump([r for i, r in enumerate(records) if i % 10 != 9], open("train.json", "w"))
json.dump([r for i, r in enumerate(records) if i % 10 == 9], open("eval.json", "w"))
PY
cat > sft.ini <<INI
[run]
stage = sft
output = out
epochs = 2
[model]
path = $data/models/stories260K
[dataset]
path = train.json
template = alpaca
max_len = 512
[dataset.eval]
path = eval.json
template = alpaca
max_len = 512
[batch]
size = 16
accumulation = 2
[optimizer]
lr = 1e-3
[eval]
every = 14
INI
"$bin/coati-run" -q sft.ini --dump-batches batches
"$bin/coati-run" -q sft.ini
"$bin/coati-run" -q sft.ini run.output=again
cmp out/model/model.safetensors again/model/model.safetensors && echo "repeated by the same seed: the same bits"
"$python" "$src/tests/golden/sft_alpaca_reference.py" --model "$data/models/stories260K" --batches batches/train.jsonl \
  --eval batches/eval.jsonl --eval-every 14 --steps "$(wc -l < batches/train.jsonl)" --lr 1e-3 > reference.jsonl
"$python" - <<'PY'
import json, sys
ours, theirs = {}, {}
train = {"o": {}, "t": {}}
for name, into, side in (("out/metrics.jsonl", ours, "o"), ("reference.jsonl", theirs, "t")):
    for line in map(json.loads, open(name)):
        if line.get("eval_loss") is not None: into[line["step"]] = line["eval_loss"]
        elif line.get("loss") is not None: train[side][line["step"]] = line["loss"]
worst = max(abs(train["o"][s] - train["t"][s]) / train["t"][s] for s in train["t"])
print(f"training loss of {len(train['t'])} steps: within {worst:.2e} of transformers'")
bad = 0
for step in sorted(set(ours) & set(theirs)):
    off = ours[step] / theirs[step] - 1
    bad |= abs(off) > 0.02
    print(f"held-out loss at step {step}: {ours[step]:.5f}, transformers {theirs[step]:.5f} ({off:+.2e})")
sys.exit(bad or not set(ours) & set(theirs))
PY
