#!/usr/bin/env python3
"""make_parquet.py PARQUET_DUMP: writes tests/parquet/files/*.parquet with pyarrow, each with the rows datasets/parquet makes of it
beside it (.jsonl), once they equal pyarrow's own (compare_parquet.py). Also the corpora of the fuzzers."""
import datetime, decimal, json, os, random, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
import compare_parquet as compare

FILES = os.path.join(here, "..", "parquet", "files")
CORPUS = os.path.join(here, "..", "fuzz", "parquet")
PAGES = os.path.join(here, "..", "fuzz", "parquet_page")
WORDS = "the quick 夏天 fox \"jumps\" over\n a\\b lazy 🦊 dog \t naïve".split(" ")


def words(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(n)))


def text(rng, n):
    return pa.table({
        "prompt": [words(rng, 12) for _ in range(n)],
        "answer": [None if rng.random() < 0.2 else words(rng, 20) for _ in range(n)],
        "source": [rng.choice(["web", "book", None]) for _ in range(n)],
        "id": pa.array(range(n), pa.int64()),
    })


def chat(rng, n):
    def turn():
        return {"role": rng.choice(["user", "assistant", "system"]), "content": rng.choice([None, "", words(rng, 9), words(rng, 30)])}
    rows = [rng.choice([None, [], [None]]) if rng.random() < 0.2 else [turn() for _ in range(rng.randrange(1, 6))] for _ in range(n)]
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    return pa.table({"messages": pa.array(rows, kind), "n": pa.array([len(r or []) for r in rows], pa.int32())})


def nested(rng, n):
    def some(make, p=0.2):
        return None if rng.random() < p else make()
    number = lambda: some(lambda: rng.randrange(-9, 9))
    lists = [some(lambda: [some(lambda: [number() for _ in range(rng.randrange(4))]) for _ in range(rng.randrange(4))]) for _ in range(n)]
    maps = [some(lambda: [(words(rng, 3), number()) for _ in range(rng.randrange(4))]) for _ in range(n)]
    by_id = [some(lambda: [(k, [words(rng, 3)] * k) for k in range(rng.randrange(4))]) for _ in range(n)]
    structs = [some(lambda: {"a": number(), "b": some(lambda: {"c": words(rng, 4), "d": [some(lambda: True)]})}) for _ in range(n)]
    return pa.table({
        "lists": pa.array(lists, pa.list_(pa.list_(pa.int32()))),
        "maps": pa.array([m and list(dict(m).items()) for m in maps], pa.map_(pa.string(), pa.int64())),
        "by_id": pa.array(by_id, pa.map_(pa.int32(), pa.list_(pa.string()))),
        "structs": pa.array(structs, pa.struct([("a", pa.int8()), ("b", pa.struct([("c", pa.string()), ("d", pa.list_(pa.bool_()))]))])),
    })


def types(rng, n):
    def ints(t, lo, hi):
        return pa.array([lo, hi, None] + [rng.randrange(lo, hi + 1) for _ in range(n - 3)], t)
    def reals(t, special):
        return pa.array(np.array(special + [rng.uniform(-1, 1) * 10.0 ** rng.randrange(-4, 4) for _ in range(n - len(special))]), pa.float64()).cast(t)
    def decimals(t, digits, scale):
        return pa.array([None, decimal.Decimal(0)] + [decimal.Decimal(rng.randrange(-10**digits + 1, 10**digits)).scaleb(-scale) for _ in range(n - 2)], t)
    inf, nan = float("inf"), float("nan")
    return pa.table({
        "bool": pa.array([None if rng.random() < 0.3 else rng.random() < 0.5 for _ in range(n)]),
        "i8": ints(pa.int8(), -128, 127), "i16": ints(pa.int16(), -2**15, 2**15 - 1), "i32": ints(pa.int32(), -2**31, 2**31 - 1),
        "i64": ints(pa.int64(), -2**63, 2**63 - 1), "u8": ints(pa.uint8(), 0, 255), "u16": ints(pa.uint16(), 0, 2**16 - 1),
        "u32": ints(pa.uint32(), 0, 2**32 - 1), "u64": ints(pa.uint64(), 0, 2**64 - 1),
        "f16": pa.array(np.array([0.0, -0.5, inf, nan, 6e-8, 65504] + [rng.uniform(-9, 9) for _ in range(n - 6)], np.float16)),
        "f32": reals(pa.float32(), [0.1, -0.0, inf, -inf, nan, 1e-45, 3.4e38]), "f64": reals(pa.float64(), [0.1, 1 / 3, nan, 5e-324, 1.7e308]),
        "dec32": decimals(pa.decimal128(9, 2), 9, 2), "dec64": decimals(pa.decimal128(18, 0), 18, 0),
        "dec128": decimals(pa.decimal128(38, 20), 38, 20), "dec256": decimals(pa.decimal256(70, 3), 70, 3),
        "date": pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None] + [datetime.date.fromordinal(rng.randrange(1, 3652059)) for _ in range(n - 3)]),
        "time_ms": ints(pa.int32(), 0, 86399999).cast(pa.time32("ms")), "time_us": ints(pa.int64(), 0, 86399999999).cast(pa.time64("us")),
        "ts_ms": ints(pa.int64(), -10**13, 10**13).cast(pa.timestamp("ms")), "ts_us": ints(pa.int64(), -10**16, 10**16).cast(pa.timestamp("us", "UTC")),
        "ts_ns": ints(pa.int64(), -10**18, 10**18).cast(pa.timestamp("ns")),
        "bytes": pa.array([rng.choice([None, b"", b"plain", b"\xff\x00\\", "é".encode()]) for _ in range(n)], pa.binary()),
        "fixed": pa.array([rng.choice([None, b"abc", b"\x80\x81\x82"]) for _ in range(n)], pa.binary(3)),
    })


def encodings(rng, n):
    stem = [words(rng, 6) for _ in range(4)]
    strings = [None if rng.random() < 0.1 else rng.choice(stem) + words(rng, 4) for _ in range(n)]
    t = pa.table({
        "delta32": pa.array([rng.randrange(-99, 99) for _ in range(n)], pa.int32()),
        "delta64": pa.array([None if rng.random() < 0.1 else rng.randrange(-2**62, 2**62) for _ in range(n)], pa.int64()),
        "steady": pa.array(range(7, 7 + 3 * n, 3), pa.int64()),
        "lengths": strings, "prefixes": strings, "fixed": pa.array([f"{i // 7:06}".encode() for i in range(n)], pa.binary(6)),
        "split32": pa.array(np.linspace(-1, 1, n, dtype=np.float32)), "split64": pa.array(np.linspace(-1, 1, n)),
        "split_i32": pa.array(range(n), pa.int32()), "split_fixed": pa.array([bytes([65 + i % 26, 66, 67]) for i in range(n)], pa.binary(3)),
        "runs": pa.array([i // 50 % 2 == 0 for i in range(n)]),
    })
    e = {"delta32": "DELTA_BINARY_PACKED", "delta64": "DELTA_BINARY_PACKED", "steady": "DELTA_BINARY_PACKED", "lengths": "DELTA_LENGTH_BYTE_ARRAY",
         "prefixes": "DELTA_BYTE_ARRAY", "fixed": "DELTA_BYTE_ARRAY", "split32": "BYTE_STREAM_SPLIT", "split64": "BYTE_STREAM_SPLIT",
         "split_i32": "BYTE_STREAM_SPLIT", "split_fixed": "BYTE_STREAM_SPLIT", "runs": "RLE"}
    return t, e


def write(folder, name, table, **options):
    path = os.path.join(folder, name + ".parquet")
    options = {"compression": "none", "write_page_checksum": True, "store_schema": False, **options}
    pq.write_table(table, path, **options)
    return path


def main():
    dump = sys.argv[1]
    rng = random.Random(6)
    small = {"data_page_size": 1500, "write_batch_size": 16, "dictionary_pagesize_limit": 4000}
    os.makedirs(FILES, exist_ok=True)
    os.makedirs(CORPUS, exist_ok=True)
    t = text(rng, 90)
    paths = [write(FILES, f"text_{c}_v{v[0]}", t, compression=c, data_page_version=v, row_group_size=40, use_dictionary=["source"])
             for c in ("none", "snappy", "gzip", "zstd", "brotli", "lz4") for v in ("1.0", "2.0")]
    t = chat(rng, 120)
    paths += [write(FILES, f"chat_v{v[0]}{'_index' if i else ''}", t, data_page_version=v, write_page_index=i, row_group_size=80, use_dictionary=["messages.list.element.role"], **small)
              for v in ("1.0", "2.0") for i in (False, True)]
    paths.append(write(FILES, "nested", nested(rng, 60), row_group_size=50, **small))
    t = types(rng, 40)
    paths.append(write(FILES, "types", t, use_dictionary=False))
    paths.append(write(FILES, "types_dictionary", t, compression="zstd", data_page_version="2.0"))
    t, e = encodings(rng, 300)
    paths += [write(FILES, f"encodings_v{v[0]}", t, compression="zstd", use_dictionary=False, column_encoding=e, data_page_version=v, **small) for v in ("1.0", "2.0")]
    paths.append(write(FILES, "empty", text(rng, 0)))
    with open(os.path.join(here, "..", "..", "tools", "quickstart", "train.json")) as f:
        paths.append(write(FILES, "quickstart", pa.Table.from_pylist(json.load(f)[:60]), compression="zstd"))
    bad = 0
    for path in paths:
        rows, error = compare.ours(dump, path)
        differ = error or compare.compare(rows, compare.arrow_rows, path)
        print(f"{os.path.basename(path):32} {os.path.getsize(path):7} bytes, {differ or f'equal: {len(rows)} rows'}")
        bad += differ is not None
        if not differ:
            with open(path[: -len("parquet")] + "jsonl", "wb") as f:
                f.write(compare.subprocess.run([dump, path], capture_output=True, check=True).stdout)
    one = pa.table({"a": ["x", None, "xyz", "x"]})
    tiny = [pa.table({"m": pa.array([[{"r": "u", "c": "hi"}, None], [], None], pa.list_(pa.struct([("r", pa.string()), ("c", pa.string())])))}),
            pa.table({"n": pa.array([1, 5, None, 9], pa.int64())}), pa.table({"m": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int32()))})]
    plain = {"use_dictionary": False, "write_statistics": False, "write_page_checksum": False}
    for c in ("none", "snappy", "gzip", "zstd", "brotli", "lz4"):
        write(CORPUS, f"text_{c}", one, compression=c, data_page_version="2.0" if c in ("zstd", "lz4") else "1.0", **plain)
    write(CORPUS, "dictionary", one, **{**plain, "use_dictionary": True, "write_page_checksum": True})
    write(CORPUS, "lengths", one, column_encoding={"a": "DELTA_LENGTH_BYTE_ARRAY"}, **plain)
    write(CORPUS, "prefixes", one, column_encoding={"a": "DELTA_BYTE_ARRAY"}, **plain)
    write(CORPUS, "chat", tiny[0], **plain)
    write(CORPUS, "chat_index_v2", tiny[0], write_page_index=True, data_page_version="2.0", **plain)
    write(CORPUS, "delta", tiny[1], column_encoding={"n": "DELTA_BINARY_PACKED"}, **plain)
    write(CORPUS, "map", tiny[2], **plain)
    # Pages for fuzz_parquet_page: type, levels, codec, values of the dictionary, and the first data page of a column.
    os.makedirs(PAGES, exist_ok=True)
    physical = ["BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"]
    codecs = {"UNCOMPRESSED": 0, "SNAPPY": 1, "GZIP": 2, "BROTLI": 4, "ZSTD": 6, "LZ4": 7, "LZ4_RAW": 7}
    t = pa.table({"i32": pa.array([4, None, 5, 99], pa.int32()), "i64": pa.array([1, 2, 2, 70], pa.int64()), "f64": [0.5, None, 1.5, 2.5],
                  "b": [True, None, False, True], "s": ["one", "one more", None, "one more time"], "fixed": pa.array([b"abc", b"abd", None, b"xyz"], pa.binary(3)),
                  "list": [[1, 2], None, [], [None]], "word": ["a", "b", "a", "a"]})
    for i, (v, c, e) in enumerate([("1.0", "none", {}), ("2.0", "snappy", {}), ("1.0", "zstd", {"i32": "DELTA_BINARY_PACKED", "i64": "DELTA_BINARY_PACKED", "s": "DELTA_BYTE_ARRAY",
                                    "fixed": "DELTA_BYTE_ARRAY", "f64": "BYTE_STREAM_SPLIT", "b": "RLE"}),
                                   ("2.0", "none", {"i64": "DELTA_BINARY_PACKED", "s": "DELTA_LENGTH_BYTE_ARRAY", "fixed": "DELTA_BYTE_ARRAY", "i32": "BYTE_STREAM_SPLIT", "b": "RLE"}),
                                   ("1.0", "gzip", {}), ("1.0", "brotli", {}), ("2.0", "lz4", {})]):
        path = write(PAGES, "tmp", t, data_page_version=v, compression=c, column_encoding=e, use_dictionary=["word"], write_statistics=False,
                     write_page_checksum=i == 0)
        f = pq.ParquetFile(path)
        for k in range(f.metadata.num_columns):
            if i > 3 and k not in (1, 4):
                continue
            m, s = f.metadata.row_group(0).column(k), f.schema.column(k)
            with open(path, "rb") as raw:
                raw.seek(m.data_page_offset)
                page = raw.read((m.dictionary_page_offset or m.data_page_offset) + m.total_compressed_size - m.data_page_offset)
            head = [physical.index(m.physical_type), s.max_definition_level | s.max_repetition_level << 4, codecs[m.compression], 2 if m.has_dictionary_page else 255]
            with open(os.path.join(PAGES, f"{t.column_names[k]}_{i}"), "wb") as out:
                out.write(bytes(head) + page)
        os.remove(path)
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
