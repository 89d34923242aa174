#!/usr/bin/env python3
"""parquet.py PARQUET_DUMP [JSONL.GZ]: time to read all text of a Parquet file, datasets/parquet against pyarrow, one thread each,
both in one run, taking turns, each the median of three reads in its process so that neither pays for starting. The files are made here from hh-rlhf pairs (or made-up words without them), in several codecs.
pyarrow makes Arrow tables (pq.read_table, one thread); datasets/parquet makes every record, one at a time. Prints one JSON line a
file: medians in seconds, MB of text a second, and the ratio of the speeds (above 1: we are faster)."""
import gzip, json, os, random, statistics, subprocess, sys, tempfile, time
import pyarrow as pa, pyarrow.parquet as pq

ROUNDS = 7


def long_texts(source):
    if source:
        with gzip.open(source, "rt") as f:
            rows = [json.loads(l) for l in f]
        return {k: [r[k] for r in rows] * 20 for k in ("chosen", "rejected")}
    rng = random.Random(1)
    words = [("".join(rng.choices("etaoinshrdlu", k=rng.randrange(1, 9)))) for _ in range(4000)]
    return {k: [" ".join(rng.choices(words, k=rng.randrange(40, 300))) for _ in range(20000)] for k in ("chosen", "rejected")}


def short_texts():
    rng = random.Random(2)
    chinese = "我们可以使用这个程序来训练语言模型并且读取数据"
    def text(): return "".join(rng.choices(chinese, k=rng.randrange(5, 60))) + " and some English words"
    return {"instruction": [text() for _ in range(150000)], "output": [text() for _ in range(150000)],
            "source": [rng.choice(["web", "book", "code"]) for _ in range(150000)]}


def theirs(path):
    s = []
    for _ in range(3):
        start = time.perf_counter()
        t = pq.read_table(path, use_threads=False, memory_map=True)
        s.append(time.perf_counter() - start)
        del t
    return statistics.median(s)


def ours(dump, path):
    s, n = subprocess.run([dump, "--time", "3", path], check=True, capture_output=True, text=True).stdout.split()
    return float(s), int(n)


def main():
    dump, source = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with tempfile.TemporaryDirectory() as d:
        for kind, columns in (("dialogues", long_texts(source)), ("short", short_texts())):
            for codec in ("none", "snappy", "zstd", "gzip", "lz4", "brotli"):
                path = os.path.join(d, f"{kind}_{codec}.parquet")
                pq.write_table(pa.table(columns), path, compression=codec, use_dictionary=["source"])
                a, b = [], []
                ours(dump, path), theirs(path)
                for _ in range(ROUNDS):
                    s, n = ours(dump, path)
                    a.append(s)
                    b.append(theirs(path))
                x, y = statistics.median(a), statistics.median(b)
                print(json.dumps({"file": f"{kind} {codec}", "mb": round(n / 1e6, 1), "ours_s": round(x, 4), "pyarrow_s": round(y, 4), "ours_min_max": [round(min(a), 4), round(max(a), 4)],
                                  "pyarrow_min_max": [round(min(b), 4), round(max(b), 4)], "ours_mb_s": round(n / x / 1e6), "ratio": round(y / x, 2)}), flush=True)
                os.remove(path)


main()
