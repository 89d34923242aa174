#!/usr/bin/env python3
"""A training step as a user would run it instead: a model of transformers in PyTorch eager on the CPU, or an adapter of peft.

Usage: peer_cpu.py [--preset 15m|110m|bloom|bloom-vocab|lora] [--dim N --layers N --heads N --ff N --vocab N --batch N --seq N]
                   [--threads 2] [--steps 5] [--warmup 2] [--attn sdpa|eager] [--optimizer fused|foreach]
                   [--malloc default|keep]

float32, tied head, random weights and tokens. The model is LLaMA; bloom and bloom-vocab: BLOOM; lora: the LLaMA frozen, with
peft's adapter of rank 8 on all linear layers. A step is forward, loss, backward, clip_grad_norm_(1.0), AdamW and
zero_grad(set_to_none=True). Attention and optimizer that are not named are tried in both kinds, each combination in a
process of its own, and the one with the lowest median is reported. Prints one JSON line; time and memory of each
combination are under "tried". (transformers computes BLOOM's attention in one way: eager.)

glibc gives large blocks back to the kernel at every free, and a step of PyTorch spends much of its time faulting them in
again. "--malloc keep" tells glibc to keep them (two environment variables): faster, and more memory. The default is what
a user gets who sets nothing.

Memory is that of the process in bytes: rss_idle after importing torch and transformers, before there is a model;
rss_peak the highest from then on.
"""
import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

PRESETS = {
    "15m": dict(dim=288, layers=6, heads=6, ff=768, vocab=32000, batch=8, seq=256),
    "110m": dict(dim=768, layers=12, heads=12, ff=2048, vocab=32000, batch=4, seq=512),
    "bloom": dict(dim=768, layers=12, heads=12, ff=3072, vocab=32000, batch=2, seq=512),
    "bloom-vocab": dict(dim=768, layers=4, heads=12, ff=3072, vocab=250880, batch=2, seq=256),
    "lora": dict(dim=768, layers=12, heads=12, ff=2048, vocab=32000, batch=2, seq=512),
}
SHAPE = list(PRESETS["15m"])
LORA_RANK = 8


def memory(field):
    """VmRSS or VmHWM of this process in bytes. (getrusage would count the parent's memory before exec, too.)"""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise LookupError(field)


def reset_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def sgemm_gflops(torch, n=2048, runs=5):
    """Best of a few square products."""
    a, b = torch.rand(n, n), torch.rand(n, n)
    out = torch.empty(n, n)
    best = float("inf")
    for _ in range(runs):
        begin = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - begin)
    return 2 * n**3 / best / 1e9


def config_of(preset, shape):
    """The model as config.json says it, for transformers and for coati-bench."""
    if preset.startswith("bloom"):
        assert shape["ff"] == 4 * shape["dim"], "BLOOM's feed-forward is four times as wide"
        return dict(model_type="bloom", hidden_size=shape["dim"], n_layer=shape["layers"], n_head=shape["heads"],
                    vocab_size=shape["vocab"])
    return dict(model_type="llama", hidden_size=shape["dim"], num_hidden_layers=shape["layers"],
                num_attention_heads=shape["heads"], num_key_value_heads=shape["heads"], intermediate_size=shape["ff"],
                vocab_size=shape["vocab"], max_position_embeddings=shape["seq"], tie_word_embeddings=True)


def run_one(args):
    """One combination in this process."""
    import torch
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM, BloomForCausalLM, LlamaForCausalLM  # noqa: F401 (imports now)
    if args.preset == "lora":
        import peft

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    idle = memory("VmRSS")
    reset_peak()
    config = config_of(args.preset, vars(args))
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config.pop("model_type"), **config), attn_implementation=args.attn)
    if args.preset == "lora":
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=LORA_RANK, lora_alpha=16, target_modules="all-linear"))
    model.train()
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=1e-4, **{args.optimizer: True})
    ids = torch.randint(0, args.vocab, (args.batch, args.seq))

    def step():
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    times = []
    for i in range(args.warmup + args.steps):
        begin = time.perf_counter()
        loss = step()
        if i >= args.warmup:
            times.append(time.perf_counter() - begin)
    peak = memory("VmHWM")
    median = statistics.median(times)
    return dict(
        {k: getattr(args, k) for k in SHAPE}, threads=args.threads, attn=args.attn, optimizer=args.optimizer,
        preset=args.preset, params=sum(p.numel() for p in params), steps=args.steps, warmup=args.warmup, step_s=median,
        step_s_min=min(times), step_s_max=max(times), tokens_per_s=args.batch * args.seq / median, rss_idle=idle,
        rss_peak=peak, rss_above_idle=peak - idle, loss=loss, sgemm_gflops=sgemm_gflops(torch),
        versions=dict(torch=torch.__version__, transformers=transformers.__version__,
                      python=sys.version.split()[0]), cpu=torch.backends.cpu.get_cpu_capability())


def run_child(args, attn, optimizer):
    command = [sys.executable, os.path.abspath(__file__), "--preset", args.preset, "--attn", attn, "--optimizer", optimizer]
    for key in SHAPE + ["threads", "steps", "warmup"]:
        command += [f"--{key}", str(getattr(args, key))]
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads), MKL_NUM_THREADS=str(args.threads))
    if args.malloc == "keep":
        env.update(MALLOC_MMAP_THRESHOLD_=str(2**40), MALLOC_TRIM_THRESHOLD_=str(2**40))
    result = subprocess.run(command + ["--one"], env=env, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", choices=PRESETS, default="15m", help="shape; single sizes override it")
    for key in SHAPE:
        parser.add_argument(f"--{key}", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--attn", choices=["sdpa", "eager"])
    parser.add_argument("--optimizer", choices=["fused", "foreach"])
    parser.add_argument("--malloc", choices=["default", "keep"], default="default")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    for key in SHAPE:
        if getattr(args, key) is None:
            setattr(args, key, PRESETS[args.preset][key])
    if args.one:
        print(json.dumps(run_one(args)))
        return

    results = [run_child(args, attn, optimizer) for attn, optimizer in itertools.product(
        [args.attn] if args.attn else ["eager"] if args.preset.startswith("bloom") else ["sdpa", "eager"],
        [args.optimizer] if args.optimizer else ["fused", "foreach"])]
    best = min(results, key=lambda r: r["step_s"])
    best["malloc"] = args.malloc
    best["tried"] = {f"{r['attn']}+{r['optimizer']}": {k: r[k] for k in ("step_s", "rss_above_idle")} for r in results}
    print(json.dumps(best))


if __name__ == "__main__":
    main()
