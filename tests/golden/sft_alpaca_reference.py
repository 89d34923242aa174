#!/usr/bin/env python3
"""Fine-tunes a LLaMA directory in PyTorch on batches that coati dumped, for comparing losses.

Usage: sft_alpaca_reference.py --model DIR --batches FILE.jsonl [--eval FILE.jsonl] --steps N --lr LR [...]

Each line of --batches is one optimizer step, each micro-step a packed batch:
    {"step": 1, "micro": [{"ids": [...], "labels": [...], "seq_start": [0, ...]}, ...]}
Lines of --eval have the same form ("step" is not used). Labels are already shifted: the loss at position t predicts
labels[t], and -100 is ignored. seq_start has one entry more than there are sequences. A sequence attends to itself
only and its positions start at 0.

Float32 throughout. Loss and gradient are the sum over the step's labels divided by their number, whatever the
micro-steps. The optimizer is torch's AdamW, the schedule transformers' cosine (its first warm-up step has rate 0) with
ceil(warmup_ratio * steps) warm-up steps, clipping is torch's clip_grad_norm_.

Prints JSON lines: {"step", "loss", "lr", "grad_norm", "labels"} for each step, the loss before the update, and
{"step", "eval_loss", "eval_labels"} before the first step, every --eval-every steps, and after the last.
"""
import argparse
import json
import math
import sys

import torch
import torch.nn.functional as F
from transformers import (AutoModelForCausalLM, get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup,
                          get_linear_schedule_with_warmup, logging)


def read_lines(path):
    with open(path) as file:
        return [json.loads(line)["micro"] for line in file if line.strip()]


def label_count(micro):
    return sum(label != -100 for batch in micro for label in batch["labels"])


def loss_sums(model, batch, group):
    """Yields the summed loss of up to `group` sequences at a time. Shorter ones are padded on the right, where causal
    attention hides the padding from every real token."""
    start = batch["seq_start"]
    assert start[0] == 0 and start[-1] == len(batch["ids"]) == len(batch["labels"]), "seq_start does not fit the ids"
    spans = sorted(zip(start, start[1:]), key=lambda s: s[1] - s[0])
    for i in range(0, len(spans), group):
        part = spans[i:i + group]
        width = max(b - a for a, b in part)
        ids = torch.tensor([batch["ids"][a:b] + [0] * (width - b + a) for a, b in part])
        labels = torch.tensor([batch["labels"][a:b] + [-100] * (width - b + a) for a, b in part])
        logits = model(ids, use_cache=False).logits
        yield F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")


@torch.no_grad()
def evaluate(model, lines, group):
    total = sum(loss.double().item() for micro in lines for batch in micro for loss in loss_sums(model, batch, group))
    count = sum(map(label_count, lines))
    return {"eval_loss": total / count, "eval_labels": count}


def train_step(model, micro, optimizer, scheduler, max_grad_norm, group):
    count, total = label_count(micro), 0.0
    optimizer.zero_grad()
    for batch in micro:
        for loss in loss_sums(model, batch, group):
            (loss / count).backward()
            total += loss.double().item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm if max_grad_norm > 0 else math.inf)
    lr = scheduler.get_last_lr()[0]
    optimizer.step()
    scheduler.step()
    return {"loss": total / count, "lr": lr, "grad_norm": norm.item(), "labels": count}


def make_optimizer(model, args):
    """Weight decay applies to parameters with two dimensions or more."""
    params = list(model.parameters())
    optimizer = torch.optim.AdamW([
        dict(params=[p for p in params if p.ndim >= 2], weight_decay=args.weight_decay),
        dict(params=[p for p in params if p.ndim < 2], weight_decay=0.0)],
        lr=args.lr, betas=args.betas, eps=args.eps)
    total = args.schedule_steps or args.steps
    warmup = math.ceil(args.warmup_ratio * total)
    if args.schedule == "constant":
        return optimizer, get_constant_schedule_with_warmup(optimizer, warmup)
    make = get_cosine_schedule_with_warmup if args.schedule == "cosine" else get_linear_schedule_with_warmup
    return optimizer, make(optimizer, warmup, total)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--batches", required=True)
    parser.add_argument("--eval")
    parser.add_argument("--eval-every", type=int, default=0, help="0: only before the first and after the last step")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--schedule-steps", type=int, default=0, help="length of the schedule, 0: --steps")
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--schedule", choices=["constant", "linear", "cosine"], default="cosine")
    parser.add_argument("--warmup-ratio", type=float, default=0.03)
    parser.add_argument("--betas", type=lambda s: tuple(float(x) for x in s.split(",")), default=(0.9, 0.999))
    parser.add_argument("--eps", type=float, default=1e-8)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--max-grad-norm", type=float, default=1.0, help="0: no clipping")
    parser.add_argument("--group", type=int, default=8, help="sequences computed at a time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save", metavar="DIR", help="write the result as a model directory")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    logging.disable_progress_bar()
    batches = read_lines(args.batches)
    if len(batches) < args.steps:
        sys.exit(f"{args.batches}: {len(batches)} steps, {args.steps} wanted")
    held_out = read_lines(args.eval) if args.eval else []
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").train()
    optimizer, scheduler = make_optimizer(model, args)

    def report(step, **values):
        print(json.dumps({"step": step, **values}), flush=True)

    if held_out:
        report(0, **evaluate(model, held_out, args.group))
    for step in range(1, args.steps + 1):
        report(step, **train_step(model, batches[step - 1], optimizer, scheduler, args.max_grad_norm, args.group))
        if held_out and (step == args.steps or (args.eval_every and step % args.eval_every == 0)):
            report(step, **evaluate(model, held_out, args.group))
    if args.save:
        model.save_pretrained(args.save)


if __name__ == "__main__":
    main()
