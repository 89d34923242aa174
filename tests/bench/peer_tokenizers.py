"""Encoding speed of coati, Hugging Face's tokenizers and tiktoken on the same texts, one thread each, in one run: mixed English
(Wikipedia), Chinese (Alpaca records) and code (this repository's), cut into documents of 4000 characters.

    python peer_tokenizers.py --bin build/release/bin/coati-bench --data ../shared/data [--rounds 5]

Rounds of the programs take turns; a line each says first, median and best, then the ratios of medians. Ids are compared too.
"""
import argparse
import glob
import json
import os
import statistics
import subprocess
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def documents(data):
    english = open(f"{data}/pretrain/llamafactory_wiki_demo.txt", encoding="utf-8").read()[:700000]
    chinese = "\n".join(r["instruction"] + r.get("input", "") + r["output"] for r in json.load(open(f"{data}/sft/llamafactory_alpaca_zh_demo.json")))
    code = "\n".join(open(f, encoding="utf-8").read() for f in sorted(glob.glob(f"{ROOT}/core/**/*.c", recursive=True)))[:700000]
    parts = {"english": english, "chinese": chinese, "code": code}
    cut = {k: [v[i : i + 4000] for i in range(0, len(v), 4000)] for k, v in parts.items()}
    cut["mixed"] = [d for docs in zip(*cut.values()) for d in docs] + [d for v in cut.values() for d in v[min(map(len, cut.values())):]]
    return cut


def tiktoken_of(path):
    """The same vocabulary for tiktoken: ranks are ids, bytes are behind GPT-2's alphabet."""
    import tiktoken

    d = json.load(open(path))
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    char = {b: chr(b) for b in plain}
    char.update({b: chr(256 + n) for n, b in enumerate(b for b in range(256) if b not in char)})
    byte = {c: b for b, c in char.items()}
    ranks = {bytes(byte[c] for c in token): i for token, i in d["model"]["vocab"].items()}
    pattern = d["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    return tiktoken.Encoding("llama3", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})


class Peer:
    def __init__(self, name, encode):
        self.name, self.encode, self.times = name, encode, []

    def round(self, docs):
        start = time.perf_counter()
        ids = [self.encode(d) for d in docs]
        self.times.append(time.perf_counter() - start)
        return sum(map(len, ids))


def coati(args, model, path):
    out = subprocess.run([args.bin, "--tokenize", model, "--steps", str(args.rounds), path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return json.loads(out.stdout)


def main():
    from tokenizers import Tokenizer

    p = argparse.ArgumentParser()
    p.add_argument("--bin", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--texts", default="mixed", help="mixed, english, chinese, code, or several with commas")
    args = p.parse_args()
    docs = documents(args.data)
    for label, model in (("LLaMA 3", f"{args.data}/tokenizers/llama3"), ("LLaMA 2", f"{args.data}/tokenizers/llama2/hf")):
        start = time.perf_counter()
        hf = Tokenizer.from_file(f"{model}/tokenizer.json")
        opened = time.perf_counter() - start
        for kind in args.texts.split(","):
            size = sum(len(d.encode()) for d in docs[kind]) / 1e6
            peers = [Peer("tokenizers", lambda d: hf.encode(d, add_special_tokens=False).ids)]
            if label == "LLaMA 3":
                peers.append(Peer("tiktoken", tiktoken_of(f"{model}/tokenizer.json").encode_ordinary))
            with tempfile.NamedTemporaryFile(suffix=".txt") as f:
                f.write(b"".join(d.encode() + b"\0" for d in docs[kind]))
                f.flush()
                ours = []
                for _ in range(args.rounds):
                    ours.append(coati(args, model, f.name))
                    counts = {peer.name: peer.round(docs[kind]) for peer in peers}
            assert all(n == ours[0]["ids"] for n in counts.values()), (counts, ours[0]["ids"])
            median = statistics.median(o["mb_per_s"]["median"] for o in ours)
            first = statistics.median(o["mb_per_s"]["first"] for o in ours)
            opens = statistics.median(o["open_s"] for o in ours)
            print(f"{label}, {kind}: {len(docs[kind])} documents, {size:.2f} MB, {ours[0]['ids']} ids")
            print(f"  coati       {median:7.2f} MB/s (first time {first:.2f}; {args.rounds} runs {min(o['mb_per_s']['median'] for o in ours):.2f} to "
                  f"{max(o['mb_per_s']['median'] for o in ours):.2f}), opens in {opens:.3f} s, {ours[0]['resident_mib']:.0f} MiB")
            for peer in peers:
                m = size / statistics.median(peer.times)
                print(f"  {peer.name:11} {m:7.2f} MB/s (first time {size / peer.times[0]:.2f}, best {size / min(peer.times):.2f})"
                      f": coati is {median / m:.1f} times as quick, {first / m:.1f} the first time"
                      + (f"; opens in {opened:.3f} s" if peer.name == "tokenizers" else ""), flush=True)


main()
