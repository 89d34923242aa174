#!/usr/bin/env python3
"""Writes tests/golden/llama/<case>/: tiny LLaMA directories and what transformers computes for them.

Usage: make_llama.py [--out DIR] [case ...]

The weights of a file are random, rounded to the dtype they are stored in. The reference is transformers'
LlamaForCausalLM, read back from that file and run in float64 with eager attention, one sequence at a time. README.md
says what is in the files. The same run in plain float32 is made as well: how far it lands from the reference, in units
of the tolerances of coati's tests, is written to expect.json, so that a tolerance is known to be within reach.
"""
import argparse
import json
import pathlib
import shutil
import zlib
from contextlib import contextmanager, nullcontext

import safetensors.torch
import torch
import torch.nn.functional as F
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

STEPS = 20
ADAMW = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
WEIGHT_DECAY = 0.01  # on parameters with two dimensions or more
MAX_GRAD_NORM = 0.5

LENGTHS = [9, 1, 14, 5, 1, 11]
LONG = [61, 1, 37]  # where position scaling has to matter


def case(name, hidden, heads, kv, ff, vocab, lengths=LENGTHS, dtype="F32", shards=1, embed_std=0.3, wrong=None,
         **config):
    """`config` goes into config.json. `wrong`: settings of a reader that ignores what the case is about."""
    return dict(name=name, hidden=hidden, heads=heads, kv=kv, ff=ff, vocab=vocab, lengths=lengths, dtype=dtype,
                shards=shards, embed_std=embed_std, wrong=wrong, config=config)


LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)

CASES = [
    case("mha_untied", 16, 4, 4, 40, 48),
    case("gqa_tied", 24, 6, 2, 44, 43, tie_word_embeddings=True),
    case("heads3_kv1", 24, 3, 1, 37, 41),
    case("heads5", 20, 5, 5, 37, 47),
    case("head_dim_wide", 20, 5, 1, 33, 40, head_dim=6),
    case("head_dim_narrow", 24, 2, 2, 29, 45, head_dim=4, tie_word_embeddings=True),
    case("rope_llama3", 24, 2, 1, 31, 44, lengths=LONG, head_dim=16, tie_word_embeddings=True,
         max_position_embeddings=512, rope_theta=500000.0, rope_scaling=LLAMA3,
         wrong=dict(rope_theta=500000.0, rope_type="default")),
    # transformers 5 writes rope_parameters and dtype; version 4 wrote rope_theta, rope_scaling and torch_dtype.
    case("rope_llama3_v5", 16, 1, 1, 31, 38, lengths=LONG, max_position_embeddings=512,
         rope_parameters=dict(LLAMA3, rope_theta=500000.0), wrong=dict(LLAMA3, rope_theta=10000.0)),
    # The oldest spelling has "type", not "rope_type".
    case("rope_linear", 16, 2, 1, 30, 39, lengths=LONG, rope_scaling=dict(type="linear", factor=4.0),
         wrong=dict(rope_theta=10000.0, rope_type="default")),
    # Embeddings small enough for a wrong eps to show.
    case("eps_1e-6", 16, 2, 2, 24, 40, embed_std=0.05, rms_norm_eps=1e-6, wrong=1e-5),
    case("eps_1e-5", 16, 2, 2, 24, 40, embed_std=0.05, rms_norm_eps=1e-5, wrong=1e-6),
    case("biases", 24, 4, 2, 26, 42, attention_bias=True, mlp_bias=True),
    case("f16", 24, 3, 3, 33, 46, dtype="F16"),
    case("bf16", 24, 4, 2, 35, 46, dtype="BF16", tie_word_embeddings=True),
    case("sharded", 16, 2, 1, 37, 40, shards=3),
    # BF16 matrices and F32 norms, in two files.
    case("sharded_mixed", 24, 3, 1, 37, 40, dtype="MIXED", shards=2, tie_word_embeddings=True),
]


def write_config(path, c):
    """config.json as found in the wild, transformers 4 spelling unless rope_parameters is asked for."""
    stored = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "MIXED": "bfloat16"}[c["dtype"]]
    config = dict(
        architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", hidden_size=c["hidden"],
        intermediate_size=c["ff"], num_hidden_layers=2, num_attention_heads=c["heads"], num_key_value_heads=c["kv"],
        vocab_size=c["vocab"], max_position_embeddings=128, rms_norm_eps=1e-5, attention_bias=False, mlp_bias=False,
        tie_word_embeddings=False, attention_dropout=0.0, bos_token_id=1, eos_token_id=2, initializer_range=0.02,
        pretraining_tp=1, use_cache=True)
    if "rope_parameters" in c["config"]:
        config.update(dtype=stored, transformers_version=transformers.__version__)
    else:
        config.update(torch_dtype=stored, rope_theta=10000.0, rope_scaling=None)
    config.update(c["config"])
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return config


def random_weights(c, config, rng):
    """name → tensor in its stored dtype, in the order of the model."""
    hidden, ff, head_dim = c["hidden"], c["ff"], config.get("head_dim") or c["hidden"] // c["heads"]

    # Scores get a standard deviation of about 2.5: attention is far from uniform, yet float32 gradients stay good.
    def normal(std, *shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64) * std

    def norm_weight():
        return 1 + 0.2 * (2 * torch.rand(hidden, generator=rng, dtype=torch.float64) - 1)

    weights = {"model.embed_tokens.weight": normal(c["embed_std"], c["vocab"], hidden)}
    for i in range(2):
        p = f"model.layers.{i}."
        weights[p + "input_layernorm.weight"] = norm_weight()
        for name, rows, cols in [("self_attn.q_proj", c["heads"] * head_dim, hidden),
                                 ("self_attn.k_proj", c["kv"] * head_dim, hidden),
                                 ("self_attn.v_proj", c["kv"] * head_dim, hidden),
                                 ("self_attn.o_proj", hidden, c["heads"] * head_dim),
                                 ("mlp.gate_proj", ff, hidden), ("mlp.up_proj", ff, hidden),
                                 ("mlp.down_proj", hidden, ff)]:
            if name == "mlp.gate_proj":
                weights[p + "post_attention_layernorm.weight"] = norm_weight()
            weights[p + name + ".weight"] = normal((1.6 if name[-6] in "qk" else 1.0) / hidden**0.5, rows, cols)
            if config["attention_bias" if "attn" in name else "mlp_bias"]:
                weights[p + name + ".bias"] = normal(0.3, rows)
    weights["model.norm.weight"] = norm_weight()
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = normal(0.3, c["vocab"], hidden)

    dtypes = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    for name, w in weights.items():
        mixed = torch.bfloat16 if w.ndim > 1 else torch.float32
        weights[name] = w.to(dtypes.get(c["dtype"], mixed))
    return weights


def write_weights(path, weights, shards):
    """One model.safetensors, or `shards` files and an index."""
    if shards == 1:
        safetensors.torch.save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
        return
    names, index = list(weights), {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = names[len(names) * i // shards:len(names) * (i + 1) // shards]
        safetensors.torch.save_file({n: weights[n] for n in part}, path / file, metadata={"format": "pt"})
        index.update({n: file for n in part})
    size = sum(w.numel() * w.element_size() for w in weights.values())
    (path / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": size}, "weight_map": index}, indent=2) + "\n")


def random_batch(c, rng):
    """Sequences laid end to end. Labels are shifted; the first third of each and every last position are ignored."""
    ids = torch.randint(0, c["vocab"], (sum(c["lengths"]),), generator=rng)
    start, labels = [0], []
    for n in c["lengths"]:
        seq = ids[start[-1]:start[-1] + n]
        shifted = torch.cat([seq[1:], torch.tensor([-100])])
        shifted[:n // 3] = -100
        labels.append(shifted)
        start.append(start[-1] + n)
    return ids, start, torch.cat(labels)


class NoFloat32(TorchDispatchMode):
    """Fails on an operation that turns float64 into something narrower."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        floats = [{t.dtype for t in tree_leaves(x) if isinstance(t, torch.Tensor) and t.is_floating_point()}
                  for x in ((args, kwargs), out)]
        if torch.float64 in floats[0] and floats[1] - {torch.float64}:
            raise AssertionError(f"{func} leaves float64")
        return out


@contextmanager
def float64_everywhere():
    """transformers asks for torch.float32 by name in RMSNorm, softmax and the RoPE tables, whatever the model's dtype.
    While this is active it gets float64 there, and NoFloat32 proves that nothing else slips through."""
    saved = torch.float, torch.float32
    torch.float = torch.float32 = torch.float64
    try:
        with NoFloat32():
            yield
    finally:
        torch.float, torch.float32 = saved


def load(path, dtype):
    model = LlamaForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="eager")
    return model.train()


def set_config(model, **changes):
    """Changes eps or the RoPE settings of a loaded model and makes the RoPE tables anew."""
    for key, value in changes.items():
        setattr(model.config, key, value)
    for module in model.modules():
        if hasattr(module, "variance_epsilon"):
            module.variance_epsilon = model.config.rms_norm_eps
    model.model.rotary_emb = LlamaRotaryEmbedding(model.config)


def logits_and_loss(model, batch):
    """Each sequence alone, positions from 0; the loss is the mean over every label of the batch."""
    ids, start, labels = batch
    logits = torch.cat([model(ids[a:b][None], use_cache=False).logits[0] for a, b in zip(start, start[1:])])
    total = F.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
    return logits, total / (labels != -100).sum()


def adamw_losses(model, batch, max_grad_norm):
    """Losses before each of STEPS steps."""
    params = list(model.parameters())
    optimizer = torch.optim.AdamW([
        dict(params=[p for p in params if p.ndim >= 2], weight_decay=WEIGHT_DECAY),
        dict(params=[p for p in params if p.ndim < 2], weight_decay=0.0)], **ADAMW)
    losses = []
    for _ in range(STEPS):
        _, loss = logits_and_loss(model, batch)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(params, max_grad_norm)
        optimizer.step()
    return losses


def reference(path, batch, dtype, wrong=None):
    """Logits, loss, gradients by name, the two lists of AdamW losses, and the logits under the settings `wrong`."""
    models = [load(path, dtype) for _ in range(4)]
    with float64_everywhere() if dtype == torch.float64 else nullcontext():
        for model in models:
            set_config(model)  # the tables that load() made are float32
        logits, loss = logits_and_loss(models[0], batch)
        loss.backward()
        result = dict(logits=logits.detach(), loss=loss.item(),
                      grads={n: p.grad for n, p in models[0].named_parameters()},
                      adamw=adamw_losses(models[1], batch, None),
                      adamw_clip=adamw_losses(models[2], batch, MAX_GRAD_NORM))
        if wrong is not None:
            set_config(models[3], **{"rope_parameters" if isinstance(wrong, dict) else "rms_norm_eps": wrong})
            result["wrong_logits"] = logits_and_loss(models[3], batch)[0].detach()
    return result


def logits_distance(a, ref):
    """In units of the tolerance: 1e-5 of the largest logit."""
    return ((a.double() - ref).abs().max() / (1e-5 * ref.abs().max())).item()


def float32_deviation(ref, low):
    """Worst deviation of the float32 run, each in units of its tolerance (1 is the limit)."""
    norm = ref["global_norm"]
    grads = [((low["grads"][n].double() - g).norm() / (1e-5 * g.norm() + 1e-7 * norm)).item()
             for n, g in ref["grads"].items()]
    steps = [abs(a - b) / (1e-5 * abs(b)) for k in ("adamw", "adamw_clip") for a, b in zip(low[k], ref[k])]
    return dict(
        logits=logits_distance(low["logits"], ref["logits"]), loss=abs(low["loss"] - ref["loss"]) / (1e-5 * ref["loss"]), grads=max(grads), adamw_losses=max(steps))


def make(c, out):
    path = out / c["name"]
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    rng = torch.Generator().manual_seed(zlib.crc32(c["name"].encode()))
    config = write_config(path, c)
    weights = random_weights(c, config, rng)
    write_weights(path, weights, c["shards"])
    batch = random_batch(c, rng)
    ids, start, labels = batch

    ref = reference(path, batch, torch.float64, c["wrong"])
    ref["global_norm"] = torch.stack([g.norm() for g in ref["grads"].values()]).norm().item()
    low = reference(path, batch, torch.float32)
    assert set(ref["grads"]) == set(weights), "every parameter of the file has a gradient"
    if c["wrong"]:
        shown = logits_distance(ref["wrong_logits"], ref["logits"])
        assert shown > 10, f"{c['name']}: a reader that ignores the setting is off by {shown} tolerances only"

    tensors = {"input_ids": ids.int(), "seq_start": torch.tensor(start).int(), "labels": labels.int(),
               "logits": ref["logits"]}
    tensors.update({f"grad.{n}": g.float() for n, g in ref["grads"].items()})
    safetensors.torch.save_file(tensors, path / "expect.safetensors")
    expect = dict(
        case=c["name"], stored_dtype=c["dtype"], reference="transformers LlamaForCausalLM, float64, eager attention",
        versions=dict(torch=torch.__version__.split("+")[0], transformers=transformers.__version__),
        tokens=len(ids), sequences=len(c["lengths"]), label_count=(labels != -100).sum().item(), loss=ref["loss"],
        grad_norm=ref["global_norm"],
        adamw=dict(steps=STEPS, lr=ADAMW["lr"], beta1=ADAMW["betas"][0], beta2=ADAMW["betas"][1], eps=ADAMW["eps"],
                   weight_decay=WEIGHT_DECAY, weight_decay_on="parameters with ndim >= 2", schedule="constant"),
        adamw_losses=ref["adamw"], max_grad_norm=MAX_GRAD_NORM, adamw_losses_clipped=ref["adamw_clip"],
        torch_float32_in_tolerances=float32_deviation(ref, low))
    (path / "expect.json").write_text(json.dumps(expect, indent=2) + "\n")

    size = sum(f.stat().st_size for f in path.iterdir())
    worst = {k: round(v, 3) for k, v in expect["torch_float32_in_tolerances"].items()}
    print(f"{c['name']:16} {size / 1000:6.1f} kB  loss {ref['loss']:.6f} → {ref['adamw'][-1]:.6f}"
          f" / {ref['adamw_clip'][-1]:.6f}  norm {ref['global_norm']:.3f}  float32: {worst}"
          + (f"  ignored: {shown:.0f}" if c["wrong"] else ""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "llama")
    parser.add_argument("cases", nargs="*", help="default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    unknown = set(args.cases) - {c["name"] for c in CASES}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    for c in CASES:
        if not args.cases or c["name"] in args.cases:
            make(c, args.out)


if __name__ == "__main__":
    main()
