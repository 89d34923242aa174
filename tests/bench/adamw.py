#!/usr/bin/env python3
"""AdamW in host memory: coati-bench --update and PyTorch's fused CPU AdamW in turns on one machine.

Usage: adamw.py [--millions 100] [--rounds 3] [--steps 9] [--threads 2] [--bench PATH]

coati keeps fp32 masters and states, takes bf16 gradients and gives bf16 copies in the same pass (28 bytes a parameter); torch's takes
fp32 gradients and gives no copy (28 bytes as well). Each side keeps its best round. Goals: at least 80 % of the machine's best copy,
and not slower than torch. Exit status 1 if one is missed.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def torch_update(n, steps, threads):
    import torch

    torch.set_num_threads(threads)
    p = torch.nn.Parameter(torch.full((n,), 0.01))
    p.grad = torch.full((n,), 1e-4)
    optimizer = torch.optim.AdamW([p], lr=1e-5, fused=True)
    times = []
    for _ in range(steps + 2):
        begin = time.perf_counter()
        optimizer.step()
        times.append(time.perf_counter() - begin)
    return n / statistics.median(times[2:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--millions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bench", default=os.path.join(HERE, "../../build/release/bin/coati-bench"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(torch_update(args.millions * 10**6, args.steps, args.threads))
        return
    ours, theirs = [], []
    for _ in range(args.rounds):
        out = subprocess.run([args.bench, "--update", str(args.millions), "--dtype", "bf16", "--steps", str(args.steps), "--threads",
                              str(args.threads)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout
        ours.append(json.loads(out))
        out = subprocess.run([sys.executable, __file__, "--one", "--millions", str(args.millions), "--steps", str(args.steps), "--threads",
                              str(args.threads)], stdout=subprocess.PIPE, check=True, text=True).stdout
        theirs.append(float(out))
    speed = max(r["parameters_per_s"] for r in ours)
    copy = max(r["copy_bytes_per_s"]["best"] for r in ours)
    share, ratio = 28 * speed / copy, speed / max(theirs)
    print(f"{speed / 1e9:.2f} billion parameters/s, {share:.0%} of the best copy ({copy / 1e9:.1f} GB/s); torch {max(theirs) / 1e9:.2f}: "
          f"{ratio:.2f}x. {'met' if share >= 0.8 and ratio >= 1 else 'MISSED'}")
    sys.exit(0 if share >= 0.8 and ratio >= 1 else 1)


if __name__ == "__main__":
    main()
