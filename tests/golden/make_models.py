#!/usr/bin/env python3
"""Writes tests/golden/<family>/<case>/ for bloom, gpt2, gpt_neox, opt, mistral and qwen2: tiny model directories as found on the
hub, and what transformers computes for them.

Usage: make_models.py [--out DIR] [case ...]       a case is FAMILY/NAME

Files, reference and tolerances are those of make_llama.py: float64, eager attention, one sequence at a time. Besides,
expect.json lists the stretches of biases whose gradient is exactly zero (a bias of keys adds the same to every score of a
query), as "name first count" in the order that coati's parameters have: [out, in], q before k before v.
"""
import argparse
import json
import pathlib
import shutil
import zlib
from contextlib import nullcontext

import safetensors.torch
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from make_llama import (ADAMW, LENGTHS, MAX_GRAD_NORM, STEPS, WEIGHT_DECAY, adamw_losses, float32_deviation,
                        float64_everywhere, logits_and_loss, logits_distance, random_batch, write_weights)

LONG = [61, 1, 37]
FULL = [64, 3]  # every position of the table
LAYERS = 2
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

# What config.json of each family holds in the wild, sizes left out.
COMMON = {
    "bloom": dict(architectures=["BloomForCausalLM"], apply_residual_connection_post_layernorm=False, attention_dropout=0.0,
                  attention_softmax_in_fp32=True, bias_dropout_fusion=True, bos_token_id=1, eos_token_id=2, hidden_dropout=0.0,
                  initializer_range=0.02, layer_norm_epsilon=1e-5, masked_softmax_fusion=True, n_inner=None, offset_alibi=100,
                  pretraining_tp=1, seq_length=2048, skip_bias_add=True, skip_bias_add_qkv=False, use_cache=True),
    "gpt2": dict(activation_function="gelu_new", architectures=["GPT2LMHeadModel"], attn_pdrop=0.1, bos_token_id=1, embd_pdrop=0.1,
                 eos_token_id=2, initializer_range=0.02, layer_norm_epsilon=1e-5, resid_pdrop=0.1, summary_activation=None,
                 summary_first_dropout=0.1, summary_proj_to_labels=True, summary_type="cls_index", summary_use_proj=True,
                 task_specific_params={"text-generation": {"do_sample": True, "max_length": 50}}),
    "gpt_neox": dict(architectures=["GPTNeoXForCausalLM"], bos_token_id=0, eos_token_id=0, hidden_act="gelu", initializer_range=0.02,
                     layer_norm_eps=1e-5, max_position_embeddings=128, rotary_emb_base=10000, rotary_pct=0.25,
                     tie_word_embeddings=False, use_cache=True, use_parallel_residual=True),
    "opt": dict(_remove_final_layer_norm=False, activation_dropout=0.0, activation_function="relu", architectures=["OPTForCausalLM"],
                attention_dropout=0.0, bos_token_id=2, do_layer_norm_before=True, dropout=0.1, eos_token_id=2, init_std=0.02,
                layerdrop=0.0, pad_token_id=1, prefix="</s>", use_cache=True),
    "mistral": dict(architectures=["MistralForCausalLM"], attention_dropout=0.0, bos_token_id=1, eos_token_id=2, hidden_act="silu",
                    initializer_range=0.02, max_position_embeddings=128, rms_norm_eps=1e-5, rope_theta=10000.0,
                    tie_word_embeddings=False, use_cache=True),
    "qwen2": dict(architectures=["Qwen2ForCausalLM"], attention_dropout=0.0, bos_token_id=1, eos_token_id=2, hidden_act="silu",
                  initializer_range=0.02, max_position_embeddings=128, max_window_layers=1, rms_norm_eps=1e-6, rope_theta=1000000.0,
                  sliding_window=6, tie_word_embeddings=False, use_cache=True, use_sliding_window=False),
}


def bloom(hidden, heads, vocab, **more):
    return dict(n_embed=hidden, n_layer=LAYERS, num_attention_heads=heads, vocab_size=vocab, **more)


def gpt2(hidden, heads, vocab, **more):
    return dict(n_embd=hidden, n_layer=LAYERS, n_head=heads, vocab_size=vocab, n_positions=64, n_ctx=64, **more)


def gpt_neox(hidden, heads, ff, vocab, **more):
    return dict(hidden_size=hidden, num_hidden_layers=LAYERS, num_attention_heads=heads, intermediate_size=ff, vocab_size=vocab, **more)


def opt(hidden, heads, ff, vocab, **more):
    return dict(hidden_size=hidden, num_hidden_layers=LAYERS, num_attention_heads=heads, ffn_dim=ff, vocab_size=vocab,
                max_position_embeddings=64, word_embed_proj_dim=hidden) | more


def mistral(hidden, heads, kv, ff, vocab, **more):
    return dict(hidden_size=hidden, num_hidden_layers=LAYERS, num_attention_heads=heads, num_key_value_heads=kv,
                intermediate_size=ff, vocab_size=vocab, **more)


qwen2 = mistral  # the same keys


def case(name, sizes, lengths=LENGTHS, dtype="F32", shards=1, embed_std=0.3, bare=False, wrong=None):
    """bare: the file's names lack the prefix, as BLOOM's and GPT-2's on the hub do. wrong: settings of a reader that ignores
    what the case is about."""
    return dict(name=name, family=name.split("/")[0], vocab=sizes["vocab_size"], sizes=sizes, lengths=lengths, dtype=dtype,
                shards=shards, embed_std=embed_std, bare=bare, wrong=wrong)


CASES = [
    case("bloom/heads4", bloom(16, 4, 48), bare=True),
    case("bloom/heads3_untied", bloom(12, 3, 41, tie_word_embeddings=False), lengths=LONG),
    case("bloom/heads7", bloom(14, 7, 37), lengths=LONG),
    case("bloom/heads1_post_norm", bloom(10, 1, 38, apply_residual_connection_post_layernorm=True),
         wrong=dict(apply_residual_connection_post_layernorm=False)),
    case("bloom/heads5_bf16", bloom(20, 5, 40), dtype="BF16", shards=2, bare=True),
    case("bloom/heads6_f16", bloom(12, 6, 39), dtype="F16"),
    case("bloom/eps", bloom(12, 2, 36, layer_norm_epsilon=1e-3), embed_std=0.05, wrong=dict(layer_norm_epsilon=1e-5)),
    case("gpt2/heads4", gpt2(16, 4, 48), lengths=FULL, bare=True),
    case("gpt2/heads3_untied", gpt2(12, 3, 41, tie_word_embeddings=False, n_inner=29)),
    case("gpt2/heads7_bf16", gpt2(14, 7, 37), dtype="BF16"),
    case("gpt2/heads1_f16", gpt2(9, 1, 38), dtype="F16", shards=2, bare=True),
    case("gpt2/gelu", gpt2(12, 2, 36, activation_function="gelu"), wrong=dict(activation_function="gelu_new")),
    case("gpt2/relu", gpt2(10, 5, 33, activation_function="relu"), wrong=dict(activation_function="gelu_new")),
    case("gpt2/by_layer", gpt2(12, 2, 36, scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True),
         wrong=dict(scale_attn_by_inverse_layer_idx=False)),
    case("gpt2/unscaled", gpt2(12, 2, 36, scale_attn_weights=False), wrong=dict(scale_attn_weights=True)),
    case("gpt2/eps", gpt2(12, 2, 35, layer_norm_epsilon=1e-3), embed_std=0.05, wrong=dict(layer_norm_epsilon=1e-5)),
    case("gpt_neox/heads4", gpt_neox(32, 4, 40, 48), bare=True),
    case("gpt_neox/heads3_tied", gpt_neox(24, 3, 31, 41, tie_word_embeddings=True), lengths=LONG),
    case("gpt_neox/heads5_serial", gpt_neox(20, 5, 33, 37, rotary_pct=1.0, use_parallel_residual=False), lengths=LONG,
         wrong=dict(use_parallel_residual=True)),
    case("gpt_neox/heads7_bf16", gpt_neox(28, 7, 40, 38, rotary_pct=0.5), dtype="BF16", shards=2),
    case("gpt_neox/heads1_f16", gpt_neox(10, 1, 29, 39), dtype="F16", shards=2, bare=True),
    case("gpt_neox/no_bias", gpt_neox(24, 3, 30, 36, attention_bias=False, rotary_pct=0.5, rotary_emb_base=100),
         wrong=dict(rope_parameters=dict(rope_theta=10000.0, partial_rotary_factor=0.5, rope_type="default"))),
    # As transformers 5 writes it; as an older one stretched it.
    case("gpt_neox/rope_v5", gpt_neox(18, 3, 28, 35, rope_parameters=dict(rope_theta=500.0, partial_rotary_factor=0.7, rope_type="default")),
         wrong=dict(rope_parameters=dict(rope_theta=500.0, partial_rotary_factor=1.0, rope_type="default"))),
    case("gpt_neox/rope_linear", gpt_neox(16, 2, 28, 34, rope_scaling=dict(type="linear", factor=4.0), hidden_act="gelu_new"),
         lengths=LONG, wrong=dict(rope_parameters=dict(rope_theta=10000.0, partial_rotary_factor=0.25, rope_type="default"))),
    case("gpt_neox/eps", gpt_neox(16, 2, 30, 36, layer_norm_eps=1e-3), embed_std=0.05, wrong=dict(layer_norm_eps=1e-5)),
    case("opt/heads4", opt(16, 4, 40, 48), lengths=FULL, bare=True),
    case("opt/heads3_untied", opt(12, 3, 29, 41, tie_word_embeddings=False)),
    case("opt/350m", opt(14, 2, 31, 40, word_embed_proj_dim=9, do_layer_norm_before=False),
         wrong=dict(do_layer_norm_before=True)),
    case("opt/350m_f16", opt(10, 5, 24, 37, word_embed_proj_dim=13, do_layer_norm_before=False), dtype="F16"),
    case("opt/projections_bf16", opt(12, 1, 33, 38, word_embed_proj_dim=8), dtype="BF16", shards=2),
    case("opt/post_norm", opt(12, 2, 30, 36, do_layer_norm_before=False), wrong=dict(do_layer_norm_before=True)),
    case("opt/no_bias", opt(12, 2, 30, 36, enable_bias=False)),
    case("opt/no_final_norm", opt(12, 3, 30, 36, _remove_final_layer_norm=True), embed_std=0.15),
    case("opt/gelu", opt(12, 3, 28, 35, activation_function="gelu"), wrong=dict(activation_function="relu")),
    case("mistral/window", mistral(16, 4, 2, 33, 44, sliding_window=5), lengths=LONG, wrong=dict(sliding_window=None)),
    case("mistral/window_1", mistral(12, 3, 1, 29, 40, sliding_window=1), lengths=[23, 1, 5], wrong=dict(sliding_window=2)),
    case("mistral/no_window", mistral(12, 2, 2, 31, 39, sliding_window=None, head_dim=8, rope_theta=1000000.0), lengths=LONG),
    case("mistral/bf16", mistral(12, 3, 3, 30, 38, sliding_window=7), lengths=LONG, dtype="BF16", shards=2),
    case("qwen2/full", qwen2(16, 4, 2, 33, 44), wrong=dict(rms_norm_eps=1e-3)),
    case("qwen2/tied_f16", qwen2(12, 3, 1, 29, 41, tie_word_embeddings=True), dtype="F16"),
    # One layer of each kind, as older and as newer configs say it.
    case("qwen2/window_above", qwen2(12, 2, 1, 30, 39, use_sliding_window=True), lengths=LONG,
         wrong=dict(layer_types=["full_attention"] * 2)),
    case("qwen2/window_types", qwen2(12, 2, 2, 30, 38, use_sliding_window=True,
                                     layer_types=["sliding_attention", "full_attention"]), lengths=LONG,
         wrong=dict(layer_types=["full_attention", "sliding_attention"])),
    case("qwen2/window_all", qwen2(12, 6, 3, 28, 37, use_sliding_window=True, max_window_layers=0), lengths=LONG,
         wrong=dict(layer_types=["full_attention"] * 2)),
]
PREFIX = {"bloom": "transformer.", "gpt2": "transformer.", "gpt_neox": "gpt_neox.", "opt": "model."}
IN_FILES = {"gpt_neox": {"lm_head.weight": "embed_out.weight"}}  # where transformers renames on the way
# Dropout that configs declare, which coati leaves out unless it is asked for; and a way to keep precision that float64 needs not.
OFF = dict(dropout=0.0, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, reorder_and_upcast_attn=False)


def key_rows(config, name, shape):
    """Stretches of a bias, in coati's order, that belong to keys and do not turn: first and count of each."""
    if config.model_type == "opt" and name.endswith("k_proj.bias"):
        return [(0, shape[0])]
    if not name.endswith(("query_key_value.bias", "c_attn.bias")):
        return []
    heads, keys = config.num_attention_heads, shape[0] // 3
    turning = int(keys // heads * config.rope_parameters["partial_rotary_factor"]) if config.model_type == "gpt_neox" else 0
    if turning == 0:
        return [(keys, keys)]
    return [(keys + h * (keys // heads) + turning, keys // heads - turning) for h in range(heads) if keys // heads > turning]


def to_memory(name, values, heads):
    """A bias in the file's order in coati's: BLOOM's and GPT-NeoX's go head by head."""
    if not name.endswith("query_key_value.bias"):
        return values
    return values.view(heads, 3, -1).transpose(0, 1).reshape(-1)


def random_weights(c, model, rng):
    """name → tensor, of every parameter the file holds. Scores get a standard deviation of about 2.5."""
    weights = {}
    tied = model.config.tie_word_embeddings
    for name, p in model.named_parameters():
        if tied and name == "lm_head.weight":
            continue
        noise = torch.randn(p.shape, generator=rng, dtype=torch.float64)
        if "norm" in name or ".ln_" in name:
            weights[name] = 0.2 * noise if name.endswith("bias") else 1 + 0.2 * noise.clamp(-2, 2)
        elif p.ndim == 1:
            weights[name] = 0.3 * noise
        elif "embed" in name or name.endswith(("wte.weight", "wpe.weight", "lm_head.weight")):
            weights[name] = c["embed_std"] * noise
        else:
            fan_in = p.shape[0] if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else p.shape[1]
            w = noise / fan_in**0.5
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                w *= 1.6
            elif name.endswith("query_key_value.weight"):
                w.view(model.config.num_attention_heads, 3, -1)[:, :2] *= 1.6
            elif name.endswith("c_attn.weight"):
                w[:, : 2 * p.shape[1] // 3] *= 1.6
            weights[name] = w
    return {n: w.to(DTYPES[c["dtype"]]) for n, w in weights.items()}


def without_padding(batch, pad):
    """transformers gives the embedding of pad_token_id no gradient where it is an input: leave that token out."""
    ids, start, labels = batch
    return (ids, start, labels) if pad is None else (torch.where(ids == pad, 3, ids), start, torch.where(labels == pad, 3, labels))


def load(path, dtype, **changes):
    config = AutoConfig.from_pretrained(path)
    for key, value in (changes | {k: v for k, v in OFF.items() if hasattr(config, k)}).items():
        setattr(config, key, value)
    return AutoModelForCausalLM.from_pretrained(path, config=config, dtype=dtype, attn_implementation="eager").train()


def exact_tables(model):
    """RoPE tables anew, in the type that is active."""
    for module in model.modules():
        if hasattr(module, "rotary_emb"):
            module.rotary_emb = type(module.rotary_emb)(model.config)
    return model


def reference(c, path, batch, dtype):
    models = [load(path, dtype) for _ in range(3)]
    wrong = load(path, dtype, **c["wrong"]) if c["wrong"] else None
    with float64_everywhere() if dtype == torch.float64 else nullcontext():
        models = [exact_tables(m) for m in models]
        logits, loss = logits_and_loss(models[0], batch)
        loss.backward()
        result = dict(logits=logits.detach(), loss=loss.item(), grads={n: p.grad for n, p in models[0].named_parameters()},
                      adamw=adamw_losses(models[1], batch, None), adamw_clip=adamw_losses(models[2], batch, MAX_GRAD_NORM))
        if wrong is not None:
            result["wrong_logits"] = logits_and_loss(exact_tables(wrong), batch)[0].detach()
    return result


def write_config(path, c):
    config = dict(COMMON[c["family"]], model_type=c["family"], **{
        "dtype" if c["dtype"] == "BF16" else "torch_dtype": str(DTYPES[c["dtype"]]).removeprefix("torch.")})
    config.update(c["sizes"])
    known = set(AutoConfig.for_model(c["family"]).to_dict())
    strange = [k for k in c["sizes"] if k not in known and k not in (
        "n_embed", "num_attention_heads", "n_ctx", "rope_theta", "rotary_pct", "rotary_emb_base", "rope_scaling")]
    assert not strange, f"{c['name']}: transformers does not know {strange}"
    (path / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def make(c, out):
    path = out / c["name"]
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    rng = torch.Generator().manual_seed(zlib.crc32(c["name"].encode()))
    write_config(path, c)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path))
    weights = random_weights(c, model, rng)
    prefix = PREFIX[c["family"]] if c["bare"] else ""
    stored = {n: IN_FILES.get(c["family"], {}).get(n, n) for n in weights}
    write_weights(path, {stored[n].removeprefix(prefix): w for n, w in weights.items()}, c["shards"])
    batch = without_padding(random_batch(c, rng), model.config.pad_token_id)
    ids, start, labels = batch

    ref = reference(c, path, batch, torch.float64)
    ref["global_norm"] = torch.stack([g.norm() for g in ref["grads"].values()]).norm().item()
    low = reference(c, path, batch, torch.float32)
    assert set(ref["grads"]) == set(weights), "every parameter of the file has a gradient"
    shown = logits_distance(ref["wrong_logits"], ref["logits"]) if c["wrong"] else None
    assert not c["wrong"] or shown > 10, f"{c['name']}: a reader that ignores the setting is off by {shown} tolerances only"

    zero = []
    for name, g in ref["grads"].items():
        for first, n in key_rows(model.config, name, g.shape):
            part = to_memory(name, g, model.config.num_attention_heads)[first:first + n]
            assert part.norm() < 1e-13 * ref["global_norm"], f"{name}: keys' gradient is {part.norm()}"
            zero.append(f"{name} {first} {n}")

    tensors = {"input_ids": ids.int(), "seq_start": torch.tensor(start).int(), "labels": labels.int(), "logits": ref["logits"]}
    tensors.update({f"grad.{stored[n]}": g.float().contiguous() for n, g in ref["grads"].items()})
    safetensors.torch.save_file(tensors, path / "expect.safetensors")
    expect = dict(
        case=c["name"], stored_dtype=c["dtype"], reference=f"transformers {type(model).__name__}, float64, eager attention",
        versions=dict(torch=torch.__version__.split("+")[0], transformers=transformers.__version__),
        tokens=len(ids), sequences=len(c["lengths"]), label_count=(labels != -100).sum().item(), loss=ref["loss"],
        grad_norm=ref["global_norm"], zero_gradients=zero,
        adamw=dict(steps=STEPS, lr=ADAMW["lr"], beta1=ADAMW["betas"][0], beta2=ADAMW["betas"][1], eps=ADAMW["eps"],
                   weight_decay=WEIGHT_DECAY, weight_decay_on="parameters with ndim >= 2", schedule="constant"),
        adamw_losses=ref["adamw"], max_grad_norm=MAX_GRAD_NORM, adamw_losses_clipped=ref["adamw_clip"],
        torch_float32_in_tolerances=float32_deviation(ref, low))
    (path / "expect.json").write_text(json.dumps(expect, indent=1) + "\n")

    size = sum(f.stat().st_size for f in path.iterdir())
    worst = {k: round(v, 3) for k, v in expect["torch_float32_in_tolerances"].items()}
    print(f"{c['name']:22} {size / 1000:6.1f} kB  loss {ref['loss']:.6f} → {ref['adamw'][-1]:.6f} / {ref['adamw_clip'][-1]:.6f}"
          f"  norm {ref['global_norm']:.3f}  float32: {worst}" + (f"  ignored: {shown:.0f}" if shown else ""), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("cases", nargs="*", help="default: all; a family stands for its cases")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    unknown = set(args.cases) - {c["name"] for c in CASES} - {c["family"] for c in CASES}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    for c in CASES:
        if not args.cases or c["name"] in args.cases or c["family"] in args.cases:
            make(c, args.out)


if __name__ == "__main__":
    main()
