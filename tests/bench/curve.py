#!/usr/bin/env python3
"""The loss of 200 bf16 steps on a GPU beside that of fp32 steps on the CPU, the same batches in the same order from the same weights; and
what [run] deterministic costs.

  curve.py run --bin DIR --data TEXT --tokenizer FILE --out FILE.jsonl [--backend cpu] [--dtype fp32] [--steps 200]
  curve.py compare CPU.jsonl GPU.jsonl
  curve.py deterministic --bin DIR --data TEXT --tokenizer FILE

run: a LLaMA of 15 million parameters (dim 288, 6 layers, vocabulary 32000) from random weights, 8 x 256 tokens a step, cosine from 1e-3; keeps
a line a step. The two sides may run on different machines; the weights come from the seed and are the same. 200 steps take about 5 minutes
on 2 cores. compare: per 20 steps the mean of both losses and the largest difference, then the largest of all, absolute and relative.
deterministic: LLaMA 1.1B, 8 x 2048 tokens, bf16 on the GPU, medians of 12 steps without and with it, in turns, twice."""
import argparse, json, os, shutil, statistics, subprocess, sys, tempfile

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("what", choices=["run", "compare", "deterministic"])
p.add_argument("files", nargs="*")
p.add_argument("--bin")
p.add_argument("--data")
p.add_argument("--tokenizer")
p.add_argument("--out")
p.add_argument("--backend", default="cpu")
p.add_argument("--dtype", default="fp32")
p.add_argument("--steps", type=int, default=200)
a = p.parse_args()
here = os.path.dirname(os.path.abspath(__file__))
SMALL = {"model_type": "llama", "hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 6, "vocab_size": 32000,
         "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "tie_word_embeddings": True}


def train(config, **keys):
    """Lines of metrics.jsonl of one run."""
    if not (a.bin and a.data and a.tokenizer):
        sys.exit("curve.py: --bin, --data and --tokenizer are needed")
    with tempfile.TemporaryDirectory() as work:
        os.mkdir(f"{work}/model")
        with open(f"{work}/model/config.json", "w") as f:
            json.dump(config, f)
        shutil.copy(a.tokenizer, f"{work}/model/")
        keys = {"run.stage": "pretrain", "run.output": f"{work}/out", "run.epochs": 1000, "run.save_model": 0, "model.path": f"{work}/model", "model.init": "random",
                "dataset.path": os.path.abspath(a.data), "batch.size": 8, "batch.accumulation": 1, "optimizer.lr": 1e-3, "schedule.name": "cosine", "schedule.warmup_ratio": 0.05,
                "log.every": 1, "log.progress": "off", "log.samples": 0, "checkpoint.every": "never", **keys}
        sections = {}
        for k, v in keys.items():
            s, k = k.split(".")
            sections.setdefault(s, []).append(f"{k} = {v}")
        with open(f"{work}/run.ini", "w") as f:
            f.write("\n".join(f"[{s}]\n" + "\n".join(v) for s, v in sections.items()) + "\n")
        subprocess.run([os.path.join(a.bin, "coati-run"), "-q", f"{work}/run.ini"], check=True)
        with open(f"{work}/out/metrics.jsonl") as f:
            return [json.loads(line) for line in f if '"loss"' in line]


def losses(path):
    with open(path) as f:
        rows = [json.loads(line) for line in f]
    return {r["step"]: r["loss"] for r in rows}


if a.what == "run":
    rows = train(SMALL, **{"run.backend": a.backend, "precision.dtype": a.dtype, "run.max_steps": a.steps, "dataset.max_len": 256})
    with open(a.out or sys.exit("curve.py run: --out is needed"), "w") as f:
        f.writelines(json.dumps({k: r[k] for k in ("step", "loss", "grad_norm", "tokens")}) + "\n" for r in rows)
    print(f"{a.backend} {a.dtype}: {len(rows)} steps, loss {rows[0]['loss']:.4f} to {rows[-1]['loss']:.4f}")
elif a.what == "compare":
    if len(a.files) != 2:
        sys.exit("curve.py compare: two files")
    x, y = (losses(f) for f in a.files)
    steps = sorted(x.keys() & y.keys())
    if not steps or len(steps) != max(len(x), len(y)):
        sys.exit(f"curve.py compare: {len(x)} and {len(y)} steps, {len(steps)} of them in both")
    for i in range(0, len(steps), 20):
        part = steps[i:i + 20]
        print(f"steps {part[0]:4} to {part[-1]:4}: {statistics.mean(x[s] for s in part):8.4f} {statistics.mean(y[s] for s in part):8.4f}"
              f"   largest difference {max(abs(x[s] - y[s]) for s in part):.4f}")
    worst = max(steps, key=lambda s: abs(x[s] - y[s]))
    d = abs(x[worst] - y[worst])
    print(f"largest deviation over {len(steps)} steps: {d:.5f} ({100 * d / x[worst]:.3f} %) at step {worst}, {x[worst]:.5f} and {y[worst]:.5f}")
else:
    with open(os.path.join(here, "configs", "llama-1.1b.json")) as f:
        big = json.load(f)
    speed = {0: [], 1: []}
    for _ in range(2):
        for d in speed:
            rows = train(big, **{"run.backend": "cuda", "precision.dtype": "bf16", "run.max_steps": 15, "dataset.max_len": 2048, "run.deterministic": d})
            speed[d].append(statistics.median(r["tokens_per_s"] for r in rows[3:]))
    print(f"tokens/s without deterministic {speed[0][0]:.0f} and {speed[0][1]:.0f}, with it {speed[1][0]:.0f} and {speed[1][1]:.0f}: "
          f"it costs {100 * (1 - sum(speed[1]) / sum(speed[0])):.1f} %")
