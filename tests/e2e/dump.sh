#!/usr/bin/env bash
# --dump-batches: what the model would be fed, and nothing else happens.
source "$(dirname "$0")/lib.sh"
cd "$work"
check "dumps" "$run" -q train.ini --dump-batches d dataset.eval.path="$COATI_SRC/tools/quickstart/eval.json" dataset.eval.template=none dataset.eval.max_len=48
check "no run was started" [ ! -e out ]
check "a line for each of the 16 steps" [ "$(wc -l < d/train.jsonl)" -eq 16 ]
check "held-out batches too" [ "$(wc -l < d/eval.jsonl)" -gt 0 ]
check "two micro-steps of packed ids" grep -qE '^\{"step": 1, "micro": \[\{"ids": \[[0-9,]+\], "labels": \[-100,[-0-9,]+\], "seq_start": \[0,[0-9]+,[0-9]+,[0-9]+,[0-9]+\]\}, \{"ids": ' d/train.jsonl
check "the last step of an epoch is smaller: one micro-step of 4" grep -qE '^\{"step": 8, "micro": \[\{"ids": [^{]*"seq_start": \[0(,[0-9]+){4}\]\}\]\}$' d/train.jsonl
check "the same each time" sh -c "'$run' -q train.ini --dump-batches e && cmp d/train.jsonl e/train.jsonl"
check "a folder that cannot be made" exits 1 "/proc/none" "$run" -q train.ini --dump-batches /proc/none
finish
