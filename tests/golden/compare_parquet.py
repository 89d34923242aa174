#!/usr/bin/env python3
"""compare_parquet.py PARQUET_DUMP DIR: the rows that datasets/parquet makes of Apache's conformance files and of the hh-rlhf
files against pyarrow's and DuckDB's. DIR holds parquet-testing/ and hh-rlhf/; beside it preference/ holds the pairs as JSON Lines.

A file passes when all its rows equal those of at least one other reader. Where readers differ, or none reads a file, RULED says
who is right and why; a file not named there must agree. Exit status 1 if one does not."""
import datetime, decimal, glob, gzip, json, math, os, re, struct, subprocess, sys
import duckdb, pyarrow as pa, pyarrow.parquet as pq

# file: ("refuse", or what is right in its last row; why)
RULED = {
    "datapage_v1-corrupt-checksum": ("refuse", "the checksums are wrong on purpose; the other readers do not look at them"),
    "rle-dict-uncompressed-corrupt-checksum": ("refuse", "the checksums are wrong on purpose; the other readers do not look at them"),
    "int96_from_spark": ({"a": "290000-12-30 23:00:00"}, "the last value is midnight of a year that Spark's 64 bits of microseconds hold; "
                         "pyarrow reads its Julian day as unsigned, DuckDB refuses it"),
    "large_string_map.brotli": ("refuse", "its pages hold a string of 1 GiB each, above the page budget of 256 MiB"),
}
EPOCH = datetime.datetime(1970, 1, 1)


def real(x, single):
    if math.isnan(x):
        return "NaN"
    if math.isinf(x):
        return "Infinity" if x > 0 else "-Infinity"
    return ("single" if single else "number", x)


def moment(us_or_ns, per_second):
    """Seconds and fraction since 1970, as the reader under test writes them."""
    days, rest = divmod(us_or_ns, 86400 * per_second)
    return ("moment", days, rest * (10**9 // per_second))


def norm_arrow(v, t):
    if v is None:
        return None
    if pa.types.is_dictionary(t):
        return norm_arrow(v, t.value_type)
    if pa.types.is_map(t):
        return {key_text(norm_arrow(k, t.key_type)): norm_arrow(x, t.item_type) for k, x in v}
    if pa.types.is_list(t) or pa.types.is_large_list(t):
        return [norm_arrow(x, t.value_type) for x in v]
    if pa.types.is_struct(t):
        return {f.name: norm_arrow(v[f.name], f.type) for f in t}
    if pa.types.is_floating(t):
        return real(float(v), not pa.types.is_float64(t))
    return norm_value(v)


def norm_value(v):
    if isinstance(v, bool) or v is None or isinstance(v, str):
        return v
    if isinstance(v, (bytes, bytearray)):
        return binary(bytes(v))
    if isinstance(v, decimal.Decimal) or isinstance(v, int):
        return ("number", decimal.Decimal(v))
    if isinstance(v, float):
        return real(v, False)
    if isinstance(v, datetime.datetime):
        return ("moment", *divmod_moment(v))
    if isinstance(v, datetime.date):
        return v.isoformat()
    if isinstance(v, datetime.time):
        return ("clock", v.isoformat())
    return str(v)


def divmod_moment(v):
    ns = getattr(v, "nanosecond", 0)
    d = v.replace(tzinfo=None) - EPOCH
    if hasattr(d, "to_pytimedelta"):
        d = d.to_pytimedelta()
    return d.days, (d.seconds * 10**6 + d.microseconds) * 1000 + ns


def binary(b):
    try:
        return b.decode()
    except UnicodeDecodeError:
        return "".join(chr(c) if 32 <= c < 127 and c != 92 else f"\\x{c:02X}" for c in b)


def key_text(k):
    return str(k[1]) if isinstance(k, tuple) else "null" if k is None else str(k)


def norm_duck(v, t):
    if v is None:
        return None
    kind = t.id
    if kind == "map":
        kt, vt = t.children[0][1], t.children[1][1]
        return {key_text(norm_duck(k, kt)): norm_duck(x, vt) for k, x in v.items()}
    if kind in ("list", "array"):
        return [norm_duck(x, t.children[0][1]) for x in v]
    if kind == "struct":
        return {name: norm_duck(v[name], ct) for name, ct in t.children}
    if kind == "float":
        return real(v, True)
    return norm_value(v)


MOMENT = re.compile(r"(-?\d{4,})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d+))?Z?$")


def same(ours, theirs):
    """ours: parsed JSON with numbers as Decimal; theirs: normalised."""
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and list(ours) == list(theirs) and all(same(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, list):
        return isinstance(ours, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, tuple) and theirs[0] == "number":
        if isinstance(ours, bool) or not isinstance(ours, decimal.Decimal):
            return False
        return float(ours) == theirs[1] if isinstance(theirs[1], float) else ours == theirs[1]
    if isinstance(theirs, tuple) and theirs[0] == "single":
        return isinstance(ours, decimal.Decimal) and struct.unpack("f", struct.pack("f", ours))[0] == theirs[1]
    if isinstance(theirs, tuple) and theirs[0] == "moment":
        m = MOMENT.match(ours) if isinstance(ours, str) else None
        if not m:
            return False
        y, mo, d, h, mi, s = map(int, m.groups()[:6])
        days = datetime.date(y, mo, d).toordinal() - EPOCH.toordinal() if 1 <= y <= 9999 else None
        return (days, (h * 3600 + mi * 60 + s) * 10**9 + int((m[7] or "0").ljust(9, "0"))) == theirs[1:]
    if isinstance(theirs, tuple) and theirs[0] == "clock":
        return datetime.time.fromisoformat(ours).isoformat() == theirs[1] if isinstance(ours, str) else False
    if isinstance(theirs, str) and isinstance(ours, str) and MOMENT.match(ours):
        return ours.rstrip("Z") == theirs  # DuckDB's text for times that Python cannot hold
    return type(ours) is type(theirs) and ours == theirs


def ours(dump, path):
    r = subprocess.run([dump, path], capture_output=True)
    if r.returncode:
        return None, r.stderr.decode().strip().split("/")[-1]
    return [json.loads(l, parse_float=decimal.Decimal, parse_int=decimal.Decimal) for l in r.stdout.decode().split("\n")[:-1]], None


def arrow_rows(path):
    t = pq.ParquetFile(path, page_checksum_verification=False, coerce_int96_timestamp_unit="us").read()
    cols = []
    for f, c in zip(t.schema, t.columns):
        if pa.types.is_timestamp(f.type):
            per = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[f.type.unit]
            cols.append([None if v is None else moment(v, per) for v in c.cast(pa.int64()).to_pylist()])
        elif pa.types.is_time64(f.type) and f.type.unit == "ns":
            cols.append([None if v is None else ("clock", (datetime.datetime.min + datetime.timedelta(microseconds=v // 1000)).time().isoformat())
                         for v in c.cast(pa.int64()).to_pylist()])
        else:
            cols.append([norm_arrow(v, f.type) for v in (c.to_pylist(maps_as_pydicts=None) if c.num_chunks else [])])
    return [dict(zip(t.column_names, r)) for r in zip(*cols)]


def duck_rows(path):
    rel = duckdb.connect().execute("set TimeZone='UTC'").read_parquet(path)
    names, types = rel.columns, rel.types
    return [{n: norm_duck(v, t) for n, v, t in zip(names, row, types)} for row in rel.fetchall()]


def compare(mine, reader, path):
    try:
        rows = reader(path)
    except Exception as e:
        return "does not read it: " + str(e).split("\n")[0][:70]
    if len(rows) != len(mine):
        return f"{len(rows)} rows, ours {len(mine)}"
    for i, (a, b) in enumerate(zip(mine, rows)):
        if not same(a, b):
            k = next((k for k in b if k not in a or not same(a[k], b[k])), None)
            return f"row {i + 1}, column {k}: {str(b.get(k))[:60]!r}, ours {str(a.get(k))[:60]!r}"
    return None


def hh_pairs(dump, data):
    """The files hold the first pairs of the JSON Lines file."""
    bad = 0
    with gzip.open(os.path.join(data, "..", "preference", "hh-rlhf_harmless-base_test.jsonl.gz"), "rt") as f:
        pairs = [json.loads(l) for l in f]
    for path in sorted(glob.glob(os.path.join(data, "hh-rlhf", "*.parquet"))):
        rows, error = ours(dump, path)
        if error:
            differ = error
        elif "multi" in path:
            differ = compare(rows, arrow_rows, path) or compare(rows, duck_rows, path)
        else:
            differ = None if rows and [(r["chosen"], r["rejected"]) for r in rows] == [(p["chosen"], p["rejected"]) for p in pairs[: len(rows)]] else "differs"
        bad += differ is not None
        print(f"{os.path.basename(path):40} {differ or f'equal: {len(rows)} rows'}")
    return bad


def main():
    dump, data = sys.argv[1:]
    bad = 0
    for path in sorted(glob.glob(os.path.join(data, "parquet-testing", "data", "*.parquet"))):
        name = os.path.basename(path)[: -len(".parquet")]
        rows, error = ours(dump, path)
        rule = RULED.get(name)
        if rule and rule[0] == "refuse":
            bad += error is None
            print(f"{name:44} {'refused' if error else 'READ, should be refused'}: {rule[1]}: {error}")
            continue
        if error:
            bad += 1
            print(f"{name:44} REFUSED: {error}")
            continue
        a, d = compare(rows, arrow_rows, path), compare(rows, duck_rows, path)
        ok = not a or not d
        if rule:  # all but the last row as pyarrow has them
            ok = rows[-1] == rule[0] and not compare(rows[:-1], lambda p: arrow_rows(p)[:-1], path)
        bad += not ok
        print(f"{name:44} {'ok' if ok else 'DIFFERS'}, {len(rows)} rows; pyarrow: {a or 'equal'}; DuckDB: {d or 'equal'}"
              + (f"; right: {rule[1]}" if rule else ""))
    for path in sorted(glob.glob(os.path.join(data, "parquet-testing", "bad_data", "*.parquet"))):
        name = os.path.basename(path)[: -len(".parquet")]
        rows, error = ours(dump, path)
        if name == "ARROW-GH-43605":  # bad was a reader: a dictionary of one value needs no bits, and every reader reads it now
            error = None if error or compare(rows, arrow_rows, path) or compare(rows, duck_rows, path) else "sound: equal to both readers"
        bad += error is None
        print(f"bad_data/{name:35} {error or 'READ, should be refused'}")
    bad += hh_pairs(dump, data)
    for path in sorted(glob.glob(os.path.join(data, "parquet-testing", "**", "*.encrypted"), recursive=True)):
        _, error = ours(dump, path)
        if not error or "encrypted" not in error:
            bad += 1
            print(f"{path}: {error or 'READ'}")
    print(f"{bad} bad")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
