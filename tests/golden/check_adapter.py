#!/usr/bin/env python3
"""Opens an adapter directory with peft over its base and compares: with the logprobs that coati-generate --json printed
for it, and with a merged model directory.

Usage: check_adapter.py BASE ADAPTER [--generated FILE.jsonl --prompt-ids 1,2,3] [--merged DIR] [--tolerance T]
Prints the number of trainable parameters and the distances max |a - b|. Exit status 1 beyond the tolerance.
"""
import argparse
import json
import sys

import peft
import torch
from transformers import AutoModelForCausalLM


def open_model(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("base")
    parser.add_argument("adapter")
    parser.add_argument("--generated")
    parser.add_argument("--prompt-ids", type=lambda s: [int(x) for x in s.split(",")], default=[1])
    parser.add_argument("--merged")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    args = parser.parse_args()
    model = peft.PeftModel.from_pretrained(open_model(args.base), args.adapter, is_trainable=True).eval()
    print("trainable parameters:", model.get_nb_trainable_parameters()[0])
    worst = 0.0
    with torch.no_grad():
        if args.generated:
            for line in map(json.loads, open(args.generated)):
                ids = torch.tensor([args.prompt_ids + line["ids"]])
                logp = torch.log_softmax(model(ids, use_cache=False).logits[0].double(), -1)
                first = len(args.prompt_ids) - 1
                want = [logp[first + i, t].item() for i, t in enumerate(line["ids"])]
                off = max(abs(a - b) for a, b in zip(want, line["logprobs"]))
                print(f"logprobs of {len(want)} generated tokens: {off:.2e} apart")
                worst = max(worst, off)
        if args.merged:
            ids = torch.randint(0, model.config.vocab_size, (1, 64), generator=torch.Generator().manual_seed(1))
            off = (open_model(args.merged)(ids).logits - model(ids).logits).abs().max().item()
            print(f"logits of the merged model: {off:.2e} apart")
            worst = max(worst, off)
    sys.exit(worst > args.tolerance)


if __name__ == "__main__":
    main()
