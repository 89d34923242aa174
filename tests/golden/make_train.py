#!/usr/bin/env python3
"""Writes tests/golden/train/: optimizer updates and learning rates of other implementations, as plain numbers.

adamw.txt: torch.optim.AdamW in float64. Per case a line of settings, then the weights it starts from, and per step a
gradient; at the end weights and both moments. All inputs are exact in fp32.
lr.txt: transformers' schedules, a line a value: shape, total steps, warm-up ratio, step, factor on the peak.
"""
import math
import pathlib

import torch
from transformers import (get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup,
                          get_linear_schedule_with_warmup)

OUT = pathlib.Path(__file__).parent / "train"
N = 19

#        name        lr    b1    b2     eps   decay  grad_scale  steps  gradient sizes
CASES = [("plain", 1e-3, 0.9, 0.999, 1e-8, 0.0, 1.0, 12, 1.0),
         ("decay", 1e-2, 0.9, 0.999, 1e-8, 0.1, 1.0, 12, 1.0),
         ("betas", 3e-3, 0.8, 0.95, 1e-6, 0.01, 1.0, 12, 1.0),
         ("scaled", 1e-3, 0.9, 0.999, 1e-8, 0.05, 0.25, 6, 8.0),
         ("tiny", 1e-3, 0.9, 0.999, 1e-8, 0.0, 1.0, 6, 1e-7),
         ("one", 1e-1, 0.9, 0.999, 1e-8, 0.3, 1.0, 1, 1.0)]


def row(values):
    return " ".join(f"{v:.17g}" for v in values)


def adamw():
    torch.manual_seed(20)
    lines = []
    for name, lr, b1, b2, eps, wd, scale, steps, size in CASES:
        start = torch.randn(N, dtype=torch.float32).double()
        p = torch.nn.Parameter(start.clone())
        opt = torch.optim.AdamW([p], lr=lr, betas=(b1, b2), eps=eps, weight_decay=wd)
        lines += [f"case {name} {lr:.17g} {b1:.17g} {b2:.17g} {eps:.17g} {wd:.17g} {scale:.17g} {steps} {N}", row(start.tolist())]
        for t in range(steps):
            g = (torch.randn(N, dtype=torch.float32) * size)
            g[t % N] = 0
            lines.append(row(g.double().tolist()))
            p.grad = g.double() * scale
            opt.step()
        s = opt.state[p]
        lines += [row(p.detach().tolist()), row(s["exp_avg"].tolist()), row(s["exp_avg_sq"].tolist())]
    (OUT / "adamw.txt").write_text("\n".join(lines) + "\n")


def lr():
    lines = []
    for total, ratio in [(100, 0.03), (100, 0.0), (7, 0.5), (1000, 0.07), (1, 0.03), (3, 1.0)]:
        warmup = math.ceil(total * ratio)
        for shape in ("cosine", "linear", "constant"):
            opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
            s = {"cosine": lambda: get_cosine_schedule_with_warmup(opt, warmup, total),
                 "linear": lambda: get_linear_schedule_with_warmup(opt, warmup, total),
                 "constant": lambda: get_constant_schedule_with_warmup(opt, warmup)}[shape]()
            for step in range(total + 1):
                if step <= 12 or step % 37 == 0 or step >= total - 1:
                    lines.append(f"{shape} {total} {ratio:.17g} {step} {s.get_last_lr()[0]:.17g}")
                opt.step()
                s.step()
    (OUT / "lr.txt").write_text("\n".join(lines) + "\n")


OUT.mkdir(exist_ok=True)
adamw()
lr()
