#!/usr/bin/env python3
"""How long the first batch of a multi-gigabyte file takes, and how long a training step waits for data.

  data.py --bin DIR --shared DIR [--gb 3] [--steps 30] [--work DIR]

First batch: a file of --gb GB of JSON Lines is written to --work and deleted at the end; `coati-run --check` reads a first batch of it,
shuffled over all records, and of a file of 100 records; the difference is what the file costs. Then the same with a part held out, filled
by tokens (the number of steps given), with the index kept by a run, for the same records as one JSON array, and in gzip (a third of the size). The file is in the page cache.
Waiting: --steps steps of the LLaMA of 15 million parameters (dim 288, 6 layers, vocabulary 32000) on the CPU, on real records;
data_wait_s over step_s after the first step."""
import argparse, json, os, random, shutil, statistics, subprocess, time, zlib

p = argparse.ArgumentParser()
p.add_argument("--bin", required=True)
p.add_argument("--shared", required=True)
p.add_argument("--gb", type=float, default=3)
p.add_argument("--steps", type=int, default=30)
p.add_argument("--work", default="bench_data.tmp")
p.add_argument("--only", choices=["first", "wait"])
a = p.parse_args()
run = os.path.join(os.path.abspath(a.bin), "coati-run")
here = os.path.dirname(os.path.abspath(__file__))
shared = os.path.abspath(a.shared)
os.makedirs(a.work)
os.chdir(a.work)


def ini(name, path, model, **more):
    keys = {"run.output": name, "model.path": model, "model.init": "random", "dataset.path": path, "dataset.template": "none", "log.progress": "off", "log.samples": 0, "dataset.max_len": 128, **more}
    sections = {}
    for k, v in keys.items():
        s, k = k.rsplit(".", 1)
        sections.setdefault(s, []).append(f"{k} = {v}")
    with open(name + ".ini", "w") as f:
        f.write("\n".join(f"[{s}]\n" + "\n".join(v) for s, v in sections.items()) + "\n")
    return name + ".ini"


def timed(*args):
    t = time.perf_counter()
    subprocess.run([run, "-q", *args], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - t


def median(name, *args, n=5):
    t = sorted(timed(*args) for _ in range(n))
    print(f"{name:44} {statistics.median(t):7.3f} s  ({t[0]:.3f} to {t[-1]:.3f})", flush=True)
    return statistics.median(t)


def write_lines(path, size):
    random.seed(1)
    words = [w for w in open(__file__).read().split() if '"' not in w and "\\" not in w]
    block = "".join(json.dumps({"instruction": " ".join(random.choices(words, k=random.randint(2, 8))), "input": "",
                                "output": " ".join(random.choices(words, k=random.randint(10, 150)))}) + "\n" for _ in range(20000)).encode()
    with open(path, "wb") as f:
        for _ in range(int(size / len(block)) + 1):
            f.write(block)
    return os.path.getsize(path)


def first():
    model = os.path.join(here, "../../tools/quickstart/model")
    size = write_lines("large.jsonl", a.gb * 1e9)
    with open("large.jsonl", "rb") as f, open("small.jsonl", "wb") as g:
        g.writelines(f.readline() for _ in range(100))
    print(f"{size / 1e9:.2f} GB of JSON Lines; coati-run --check, from exec to exit, median of 5")
    median("100 records", "--check", ini("small", "small.jsonl", model))
    large = ini("large", "large.jsonl", model)
    median("all, no index", "--check", large)
    median("[dataset] split, no index", "--check", ini("split", "large.jsonl", model, **{"dataset.split": 0.99}))
    median("[batch] tokens, max_steps, no index", "--check", ini("tokens", "large.jsonl", model, **{"batch.tokens": 4096, "run.max_steps": 1000}))
    timed(large, "run.stop_after=1", "run.save_model=0", "checkpoint.every=never")
    median("all, index kept", "--check", large)
    with open("large.jsonl", "rb") as f, open("array.json", "wb") as g:
        g.write(b"[")
        left = os.path.getsize("large.jsonl")
        first_line = True
        for line in f:
            g.write((b"" if first_line else b",") + line)
            first_line = False
        g.write(b"]")
    os.remove("large.jsonl")
    array = ini("array", "array.json", model)
    median("one array, no index", "--check", array, n=3)
    timed(array, "run.stop_after=1", "run.save_model=0", "checkpoint.every=never")
    median("one array, index kept", "--check", array)
    os.remove("array.json")
    write_lines("third.jsonl", a.gb * 1e9 / 3)
    c = zlib.compressobj(1, zlib.DEFLATED, 31)
    with open("third.jsonl", "rb") as f, open("third.jsonl.gz", "wb") as g:
        while piece := f.read(1 << 24):
            g.write(c.compress(piece))
        g.write(c.flush())
    os.remove("third.jsonl")
    gz = ini("gz", "third.jsonl.gz", model)
    print(f"{'a third of it in gzip, unpacked by a run':44} {timed(gz, 'run.stop_after=1', 'run.save_model=0', 'checkpoint.every=never'):7.3f} s")
    median("and once it is unpacked", "--check", gz)


def wait():
    os.mkdir("model")
    json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 6,
               "num_attention_heads": 6, "num_key_value_heads": 6, "vocab_size": 32000, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
               "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "rope_theta": 10000.0,
               "torch_dtype": "float32"}, open("model/config.json", "w"))
    for d, _, names in os.walk(os.path.join(shared, "tokenizers", "llama2")):
        if "tokenizer.model" in names:
            shutil.copy(os.path.join(d, "tokenizer.model"), "model")
    data = os.path.join(shared, "sft")
    path = os.path.join(data, "llamafactory_alpaca_en_demo.json")
    w = ini("wait", path, "model", **{"run.max_steps": a.steps, "run.save_model": 0, "dataset.template": "alpaca", "dataset.max_len": 256, "batch.size": 8,
                                      "batch.accumulation": 1, "checkpoint.every": "never", "log.samples": 0})
    timed(w)
    steps = [json.loads(l) for l in open("wait/metrics.jsonl")][1:]
    waited, took = sum(s["data_wait_s"] for s in steps), sum(s["step_s"] for s in steps)
    print(f"{len(steps)} steps after the first: {took:.2f} s, waited for data {waited:.5f} s, {100 * waited / took:.4f} % (goal: under 0.5 %)")


try:
    if a.only != "wait":
        first()
    if a.only != "first":
        wait()
finally:
    os.chdir("..")
    shutil.rmtree(a.work)
