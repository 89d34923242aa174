#!/usr/bin/env python3
"""Opens a model directory with transformers and prints or compares logits.

Usage: check_model_dir.py DIR [--ids 1,2,3] [--logits FILE] [--generated FILE] [--other DIR] [--tolerance T]

FILE is {"ids": [...], "logits": [[...], ...]}: one row of logits for each id, or for the last ids only. Without a file,
the logits of --ids are printed in that form. --other compares two directories, weights and logits both. The distance is
max |a - b| / max |b|. --generated takes lines of `coati-generate --json --prompt ""` (BOS alone, greedy): the log-probability
of each id must be transformers', and no other id may be more probable there. Exit status: 0 within the tolerance, 1 not, 2 the directory does not open.
"""
import argparse
import json
import sys

import torch
from transformers import AutoModelForCausalLM, logging


def open_model(path):
    """The model in float32; a missing, extra or misshaped tensor is an error, not a warning."""
    try:
        model, info = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, output_loading_info=True,
                                                           local_files_only=True)
    except Exception as error:
        print(f"{path}: transformers cannot open it: {error}", file=sys.stderr)
        sys.exit(2)
    problems = {k: sorted(map(str, v)) for k, v in info.items() if v}
    if problems:
        print(f"{path}: tensors do not fit the model: {problems}", file=sys.stderr)
        sys.exit(2)
    return model.eval()


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0].double()


def distance(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def check_generated(model, path, tolerance):
    """Log-probabilities, and that greedy decoding would have taken each id; BOS is the model's."""
    worst, ids = 0.0, 0
    for line in open(path):
        g = json.loads(line)
        assert g["prompt"] == "", "made with --prompt \"\""
        row = logits_of(model, [model.config.bos_token_id] + g["ids"]).log_softmax(-1)
        given = torch.tensor(g["logprobs"], dtype=torch.float64)
        expected = row[:-1].gather(1, torch.tensor(g["ids"])[:, None])[:, 0]
        behind = row[:-1].max(-1).values - expected
        worst = max(worst, (given - expected).abs().max().item(), behind.max().item())
        ids += len(g["ids"])
    print(json.dumps({"ids": ids, "distance": worst, "tolerance": tolerance}))
    return not (ids and worst <= tolerance)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dir")
    parser.add_argument("--ids", type=lambda s: [int(x) for x in s.split(",")], default=[1])
    parser.add_argument("--logits", metavar="FILE")
    parser.add_argument("--generated", metavar="FILE")
    parser.add_argument("--other", metavar="DIR")
    parser.add_argument("--tolerance", type=float, default=1e-5)
    args = parser.parse_args()
    logging.disable_progress_bar()

    model = open_model(args.dir)
    if args.generated:
        return check_generated(model, args.generated, args.tolerance)
    if args.other:
        other = open_model(args.other)
        ours, theirs = model.state_dict(), other.state_dict()
        if {n: w.shape for n, w in ours.items()} != {n: w.shape for n, w in theirs.items()}:
            print("tensor names or shapes differ", file=sys.stderr)
            return 1
        equal = sum(torch.equal(w, theirs[n]) for n, w in ours.items())
        value = distance(logits_of(model, args.ids), logits_of(other, args.ids))
        print(json.dumps({"tensors": len(ours), "equal_tensors": equal, "distance": value}))
        return value > args.tolerance
    if not args.logits:
        print(json.dumps({"ids": args.ids, "logits": logits_of(model, args.ids).tolist()}))
        return 0
    with open(args.logits) as file:
        given = json.load(file)
    rows = torch.tensor(given["logits"], dtype=torch.float64)
    expected = logits_of(model, given["ids"])[-len(rows):]
    if rows.shape != expected.shape:
        print(f"logits are {list(rows.shape)}, the model's {list(expected.shape)}", file=sys.stderr)
        return 1
    value = distance(rows, expected)
    print(json.dumps({"rows": len(rows), "distance": value, "tolerance": args.tolerance}))
    return not value <= args.tolerance  # a NaN fails


if __name__ == "__main__":
    sys.exit(main())
