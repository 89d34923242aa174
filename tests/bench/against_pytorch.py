#!/usr/bin/env python3
"""coati-bench and peer_cpu.py in turns on one machine; prints both, the ratios, and whether the goals are met.

Usage: against_pytorch.py [--preset 15m|110m|all] [--rounds N] [--malloc default|keep] [--bench PATH]

Goals: 15m at least 1.3 times PyTorch's tokens/s; 110m 1.3 times, or 90 % of the step's floor (its products at the speed
of the sgemm measured in the same run); memory above an idle process at most 60 % of PyTorch's. Each side keeps its best
round, so that another program's burst harms neither. Exit status 1 if a goal is missed.
"""
import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def last_json(command):
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout
    return json.loads([line for line in out.splitlines() if line.startswith("{")][-1])


def measure(preset, args):
    ours, theirs = [], []
    how = []
    for _ in range(args.rounds):
        ours.append(last_json([args.bench, "--preset", preset, "--steps", "5", "--threads", "2"]))
        theirs.append(last_json([sys.executable, os.path.join(HERE, "peer_cpu.py"), "--preset", preset, "--malloc",
                                 args.malloc, "--warmup", "1"] + how))
        how = ["--attn", theirs[0]["attn"], "--optimizer", theirs[0]["optimizer"]]  # later rounds: the fastest alone
    a = max(ours, key=lambda r: r["tokens_per_s"])
    b = max(theirs, key=lambda r: r["tokens_per_s"])
    ratio = a["tokens_per_s"] / b["tokens_per_s"]
    memory = a["rss_above_idle_mib"] / (b["rss_above_idle"] / 2**20)
    fast = ratio >= 1.3 or (preset == "110m" and a["floor_fraction"] >= 0.9)
    print(f"{preset}: {a['tokens_per_s']:.0f} tokens/s, {a['floor_fraction']:.0%} of the floor; PyTorch {b['tokens_per_s']:.0f} "
          f"({b['attn']}, {b['optimizer']}); {ratio:.2f}x. Above idle {a['rss_above_idle_mib']:.0f} MiB, PyTorch "
          f"{b['rss_above_idle'] / 2**20:.0f}: {memory:.0%}. {'met' if fast and memory <= 0.6 else 'MISSED'}", flush=True)
    return fast and memory <= 0.6


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", choices=["15m", "110m", "all"], default="all")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--malloc", choices=["default", "keep"], default="default")
    parser.add_argument("--bench", default=os.path.join(HERE, "../../build/release/bin/coati-bench"))
    args = parser.parse_args()
    presets = ["15m", "110m"] if args.preset == "all" else [args.preset]
    sys.exit(0 if all([measure(p, args) for p in presets]) else 1)


if __name__ == "__main__":
    main()
