"""Holds coati-tokenize to Hugging Face's tokenizers and to sentencepiece: the same ids for every text under DATA, for N
random strings and for damaged UTF-8, and the same text back.

    python compare_tokenizers.py --bin build/release/bin/coati-tokenize --data ../shared/data [--random 100000] [--only llama3]

Tokenizers: LLaMA 2 (tokenizer.model, tokenizer.json), LLaMA 3, and the fixtures of tests/tokenizers. Prints a line each;
exit code 1 if anything differs.
"""
import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
HERE = os.path.dirname(os.path.abspath(__file__))


def run(args, mode, data):
    p = subprocess.run([args.bin, "--model", args.model, *mode], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if p.returncode:
        sys.exit(f"{' '.join(mode)}: exit code {p.returncode}: {p.stderr.decode()}")
    return p.stdout


def encode(args, texts):
    lines = run(args, ["--no-bos", "--null"], b"".join(t + b"\0" for t in texts)).decode().split("\n")[:-1]
    assert len(lines) == len(texts), (len(lines), len(texts))
    return [[int(i) for i in line.split()] for line in lines]


def decode(args, ids):
    return run(args, ["--decode", "--null"], "".join(" ".join(map(str, i)) + "\n" for i in ids).encode()).split(b"\0")[:-1]


SPECIAL = ["<s>", "</s>", "<unk>", "<|begin_of_text|>", "<|eot_id|>", "<|endoftext|>", "<pad>", "<|im_start|>", "[SEP]", "<mask>", "<0x0A>"]
WORDS = ("the of and to in is that it was for on are as with his they at be this have from or one had by word but not what all were we "
         "Hello WORLD isn't it's I'M they'LL we've you'd 's 'S \u017f 'RE don't 中文 你好 世界 我们 的 はい 日本語 안녕 Привет мир "
         "def return int void for(i=0;i<10;i++) { } == != -> => // /* */ 1234567 3.14 0x1F user@example.com http://a.b/c?d=e "
         "é e\u0301 ﬁ ½ ² Ⅷ ① 𝟘 İ ß Å ﷺ ก็ नमस्ते ॐ 👍 👩‍👩‍👧 🏳️‍🌈 🇩🇪 … 。 ، ۔ ।").split()
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\u00a0", "\u3000", "\u2028", "\u0085", "\u180e", "\ufeff", "\u200b", ""]


def random_character(r):
    k = r.randrange(8)
    if k == 0:
        return chr(r.randrange(1, 128))
    if k == 1:
        return chr(r.randrange(0x80, 0x800))
    if k == 2:
        return chr(r.choice((r.randrange(0x4E00, 0xA000), r.randrange(0x3000, 0x3100), r.randrange(0xAC00, 0xD7A4), r.randrange(0xFF00, 0xFFF0))))
    if k == 3:
        return chr(r.randrange(0x1F300, 0x1FB00))
    if k == 4:
        return chr(r.randrange(0x300, 0x370))
    while True:
        c = r.randrange(1, 0x110000) if k == 5 else r.randrange(1, 0x10000) if k == 6 else r.randrange(0x10000, 0x20000)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def random_text(r):
    out = []
    for _ in range(r.randrange(1, 14)):
        k = r.randrange(12)
        if k < 4:
            out.append(r.choice(WORDS))
        elif k < 7:
            out.append(r.choice(SPACES))
        elif k < 9:
            out.append("".join(random_character(r) for _ in range(r.randrange(1, 6))))
        elif k == 9:
            out.append(r.choice(SPECIAL))
        elif k == 10:
            out.append("".join(r.choice("0123456789'.,!?()|-_ \n") for _ in range(r.randrange(1, 9))))
        else:
            out.append(r.choice(["a", "aa", " ", "ab", "\u0301"]) * r.randrange(1, 9))
    return "".join(out)


def strings_in(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from strings_in(v)
    elif isinstance(value, list):
        for v in value:
            yield from strings_in(v)


def texts_of(data):
    """(name, texts) of each file: as it is, and the strings in it if it is JSON."""
    for folder in ("sft", "pretrain", "preference", "prompts"):
        for name in sorted(os.listdir(os.path.join(data, folder))):
            path = os.path.join(data, folder, name)
            raw = (gzip.open if name.endswith(".gz") else open)(path, "rb").read()
            whole = raw.decode("utf-8", "replace")
            texts = [whole] + [line for line in whole.split("\n")]
            if ".json" in name:
                for part in [whole] if whole.lstrip().startswith("[") else whole.split("\n"):
                    try:
                        texts.extend(strings_in(json.loads(part)))
                    except ValueError:
                        pass
            yield name, [t for t in texts if "\0" not in t]


def vectors(data, kind):
    base = os.path.join(data, "tokenizers", "vectors", f"ggml-vocab-llama-{kind}.gguf")
    texts = open(base + ".inp", newline="").read().split("\n__ggml_vocab_test__\n")
    ids = [[int(i) for i in line.split()] for line in open(base + ".out").read().split("\n")]
    return texts, ids[: len(texts)]


class HuggingFace:
    def __init__(self, path):
        from tokenizers import Tokenizer

        self.t = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
        self.t.no_truncation()
        self.t.no_padding()

    def encode(self, texts):
        return [self.t.encode(t, add_special_tokens=False).ids for t in texts]

    def decode(self, ids):
        return [self.t.decode(i) for i in ids]


class SentencePiece:
    def __init__(self, path):
        import sentencepiece

        self.t = sentencepiece.SentencePieceProcessor(model_file=os.path.join(path, "tokenizer.model"))

    def encode(self, texts):
        return [self.t.encode(t) for t in texts]

    def decode(self, ids):
        return [self.t.decode(i) for i in ids]


def compare(args, name, texts, oracle, failures):
    want = oracle.encode(texts)
    got = encode(args, [t.encode() for t in texts])
    bad = [i for i in range(len(texts)) if want[i] != got[i]]
    for i in bad[:5]:
        print(f"  {name}: {texts[i][:200]!r}\n    want {want[i][:40]}\n    got  {got[i][:40]}")
    back, theirs = decode(args, want), oracle.decode(want)
    lost = [i for i in range(len(texts)) if theirs[i] == texts[i] and back[i] != texts[i].encode()]
    differ = sum(1 for i in range(len(texts)) if back[i].decode("utf-8", "replace") != theirs[i])
    for i in lost[:5]:
        print(f"  {name}: decoded {texts[i][:200]!r} as {back[i][:300]!r}")
    failures.append(len(bad) + len(lost))
    print(f"{args.label:14} {name:36} {len(texts):7} texts {sum(map(len, want)):9} ids, {len(bad)} differ; "
          f"round trips lost: {len(lost)}; decoded unlike theirs: {differ}", flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--bin", required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--random", type=int, default=100000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only")
    args = p.parse_args()
    fixtures = os.path.join(HERE, "..", "tokenizers")
    models = [("llama2-model", f"{args.data}/tokenizers/llama2", SentencePiece, "spm"),
              ("llama2-json", f"{args.data}/tokenizers/llama2/hf", HuggingFace, "spm"),
              ("llama3", f"{args.data}/tokenizers/llama3", HuggingFace, "bpe")]
    for name in sorted(os.listdir(fixtures)):
        if os.path.exists(f"{fixtures}/{name}/tokenizer.json"):
            models.append((name, f"{fixtures}/{name}", HuggingFace, None))
        elif os.path.exists(f"{fixtures}/{name}/tokenizer.model"):
            models.append((name, f"{fixtures}/{name}", SentencePiece, None))
    print("Unicode of this Python:", unicodedata.unidata_version)
    failures = []
    for label, path, kind, vector_kind in models:
        if args.only and args.only not in label:
            continue
        args.label, args.model, oracle = label, path, kind(path)
        if vector_kind:
            texts, ids = vectors(args.data, vector_kind)
            got = encode(args, [t.encode() for t in texts])
            bad = [i for i in range(len(texts)) if got[i] != ids[i]]
            print(f"{label:14} {'vectors':36} {len(texts):7} texts, {len(bad)} differ")
            failures.append(len(bad))
        for name, texts in texts_of(args.data):
            compare(args, name, texts, oracle, failures)
        r = random.Random(args.seed)
        for start in range(0, args.random, 20000):
            compare(args, f"random from {start}", [random_text(r) for _ in range(min(20000, args.random - start))], oracle, failures)
        damaged = [bytes(r.choice(b"ab \xc3\xa9\xe4\xb8\xad\xf0\x9f\x91\x8d\xff\xed\xa0\x80\xc0") for _ in range(r.randrange(1, 20))) for _ in range(2000)]
        want = oracle.encode(damaged) if kind is SentencePiece else oracle.encode([d.decode("utf-8", "replace") for d in damaged])
        got = encode(args, damaged)
        bad = [i for i in range(len(damaged)) if want[i] != got[i]]
        for i in bad[:5]:
            print(f"  damaged {damaged[i]!r}\n    want {want[i]}\n    got  {got[i]}")
        print(f"{label:14} {'damaged UTF-8':36} {len(damaged):7} texts, {len(bad)} differ", flush=True)
        failures.append(len(bad))
    print("all equal" if not sum(failures) else f"{sum(failures)} differences")
    return 1 if sum(failures) else 0


if __name__ == "__main__":
    sys.exit(main())
