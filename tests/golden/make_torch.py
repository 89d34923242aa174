#!/usr/bin/env python3
"""Writes what coati reads of PyTorch's own format: tests/golden/torch/ (state dicts and the same tensors as safetensors) and
tests/fuzz/torch/ (small files, good and bad; the good ones are also read back by tests/params/test_torch_file.c).

Usage: make_torch.py
"""
import collections
import io
import os
import pathlib
import pickle
import shutil
import zipfile

import safetensors.torch
import torch

HERE = pathlib.Path(__file__).parent
GOLDEN, FUZZ = HERE / "torch", HERE.parent / "fuzz" / "torch"


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def state():
    module = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.LayerNorm(3))
    d = module.state_dict()
    for i, k in enumerate(d):
        d[k] = numbers(*d[k].shape, seed=i)
    d["half"], d["bf16"], d["double"] = numbers(6, seed=7).half(), numbers(2, 3, seed=8).bfloat16(), numbers(3, seed=9).double()
    d["ids"], d["mask"], d["empty"] = torch.arange(4), torch.ones(2, 2, dtype=torch.bool), torch.zeros(0, 4)
    whole = numbers(10, seed=10)
    d["tied"], d["view"], d["parameter"] = d["0.weight"], whole[3:7], torch.nn.Parameter(numbers(2, seed=11))
    return d


def archive(path, pickled, members, compression=zipfile.ZIP_STORED, order=b"little"):
    with zipfile.ZipFile(path, "w", compression) as z:
        z.writestr(zipfile.ZipInfo("a/data.pkl"), pickled, compression)
        z.writestr(zipfile.ZipInfo("a/byteorder"), order)
        for name, data in members.items():
            z.writestr(zipfile.ZipInfo("a/" + name), data)


def tensor(size, stride, offset=0, stored=4, key="0", kind="FloatStorage"):
    """The pickle of {"w": one tensor}, put together by hand."""
    b = lambda i: b"K" + bytes([i])
    text = lambda s: b"X" + len(s).to_bytes(4, "little") + s.encode()
    many = lambda v: b"(" + b"".join(map(b, v)) + b"t"
    return (b"\x80\x02}(" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key)
            + text("cpu") + b(stored) + b"tQ" + b(offset) + many(size) + many(stride) + b"\x89ccollections\nOrderedDict\n)RtRu.")


class Evil:
    def __reduce__(self):
        return os.system, ("echo this must never run",)


def saved(value, **kw):
    out = io.BytesIO()
    torch.save(value, out, **kw)
    return out.getvalue()


def main():
    for d in (GOLDEN, FUZZ):
        shutil.rmtree(d, ignore_errors=True)
        d.mkdir(parents=True)
    d = state()
    torch.save(d, GOLDEN / "pytorch_model.bin")
    safetensors.torch.save_file({k: v.detach().clone() for k, v in d.items()}, GOLDEN / "expect.safetensors")
    data = {"data/0": bytes(range(16))}
    archive(FUZZ / "one", tensor([2, 2], [2, 1]), data)
    archive(FUZZ / "vector", tensor([3], [1], offset=1), data)
    (FUZZ / "real").write_bytes(saved(collections.OrderedDict(w=torch.ones(2))))
    (FUZZ / "protocol4").write_bytes(saved({"w": torch.ones(2)}, pickle_protocol=4))
    # Each of the following must be refused.
    archive(FUZZ / "bad_transposed", tensor([2, 2], [1, 2]), data)
    archive(FUZZ / "bad_beyond", tensor([4], [1], offset=1), data)
    archive(FUZZ / "bad_stored", tensor([4], [1], stored=5), data)
    archive(FUZZ / "bad_key", tensor([4], [1], key="7"), data)
    archive(FUZZ / "bad_storage", tensor([4], [1], kind="QInt8Storage"), data)
    archive(FUZZ / "bad_order", tensor([4], [1]), data, order=b"big")
    archive(FUZZ / "bad_compressed", tensor([4], [1]) + b"\0" * 100, data, compression=zipfile.ZIP_DEFLATED)
    archive(FUZZ / "bad_evil", pickle.dumps({"w": Evil()}, protocol=2), data)
    archive(FUZZ / "bad_builtin", b"\x80\x02}(X\x01\x00\x00\x00wc__builtin__\neval\nX\x01\x00\x00\x001\x85Ru.", data)
    archive(FUZZ / "bad_list", pickle.dumps([1, 2], protocol=2), data)
    archive(FUZZ / "bad_value", pickle.dumps({"epoch": 3}, protocol=2), data)
    archive(FUZZ / "bad_nested", saved_pickle({"model": {"w": torch.ones(2)}}), data)
    archive(FUZZ / "bad_stack", b"\x80\x02R.", data)
    archive(FUZZ / "bad_memo", b"\x80\x02h\x05.", data)
    archive(FUZZ / "bad_end", b"\x80\x02}(X\xff\xff\x00\x00w", data)
    archive(FUZZ / "bad_self", b"\x80\x02}q\x00(h\x00h\x00u.", data)
    (FUZZ / "bad_legacy").write_bytes(saved({"w": torch.ones(2)}, _use_new_zipfile_serialization=False))
    with zipfile.ZipFile(FUZZ / "bad_zip", "w") as z:
        z.writestr("hello.txt", "no model")
    (FUZZ / "bad_empty").write_bytes(b"")
    whole = (FUZZ / "real").read_bytes()
    (FUZZ / "bad_cut").write_bytes(whole[: len(whole) // 2])


def saved_pickle(value):
    z = zipfile.ZipFile(io.BytesIO(saved(value)))
    return z.read(next(n for n in z.namelist() if n.endswith("data.pkl")))


if __name__ == "__main__":
    main()
