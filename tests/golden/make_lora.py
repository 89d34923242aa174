#!/usr/bin/env python3
"""Writes tests/golden/lora/<case>/: adapters as peft saves them over the directories of make_llama.py (and others), and
what peft computes with them.

Usage: make_lora.py [--out DIR] [case ...]

A and B are random, B too, so that every gradient is of use. The reference is the base model in float64 with peft's
wrapper around it, one sequence at a time; only the adapter trains. expect.json holds the loss, peft's count of trainable
parameters, the gradient's norm and the losses of 20 AdamW steps without and with clipping; expect.safetensors the batch, the
logits and the gradients; merged.safetensors what merge_and_unload makes, in float32, of the weights it changes.
"""
import argparse
import json
import pathlib
import shutil
import zlib

import peft
import safetensors.torch
import torch
import torch.nn.functional as F
import transformers

import make_models
from make_llama import ADAMW, MAX_GRAD_NORM, STEPS, WEIGHT_DECAY, float64_everywhere

HERE = pathlib.Path(__file__).parent
QUIET = 0.1  # standard deviation of A and B where 0.3 would make float32 itself miss the tolerances
CASES = {  # name: base directory, peft's LoraConfig, perhaps the standard deviation of A and B
    "all_linear": ("llama/gqa_tied", dict(r=4, lora_alpha=8, target_modules="all-linear")),
    "two_names": ("llama/heads3_kv1", dict(r=3, lora_alpha=16, target_modules=["q_proj", "v_proj"])),
    "rslora": ("llama/mha_untied", dict(r=8, lora_alpha=4, target_modules=["o_proj", "down_proj"], use_rslora=True)),
    "bias_all": ("llama/biases", dict(r=2, lora_alpha=2, target_modules=["q_proj", "up_proj"], bias="all")),
    "bias_lora_only": ("llama/biases", dict(r=2, lora_alpha=6, target_modules=["k_proj", "o_proj", "gate_proj"],
                                            bias="lora_only")),
    "bloom_all_linear": ("bloom/heads3_untied", dict(r=3, lora_alpha=6, target_modules="all-linear")),
    "bloom_qkv": ("bloom/heads4", dict(r=2, lora_alpha=8, target_modules=["query_key_value"], use_rslora=True)),
    "bloom_bias_all": ("bloom/heads5_bf16", dict(r=2, lora_alpha=2, target_modules=["query_key_value", "dense_4h_to_h"],
                                                 bias="all")),
    "gpt2_all_linear": ("gpt2/heads3_untied", dict(r=3, lora_alpha=6, target_modules="all-linear", fan_in_fan_out=True), QUIET),
    "gpt2_one_c_proj": ("gpt2/heads4", dict(r=2, lora_alpha=8, target_modules=["attn.c_attn", "mlp.c_proj"],
                                            fan_in_fan_out=True), QUIET),
    "gpt2_bias_lora_only": ("gpt2/heads7_bf16", dict(r=1, lora_alpha=2, target_modules=["c_attn", "c_fc"], bias="lora_only",
                                                     fan_in_fan_out=True), QUIET),
    "gpt_neox_all_linear": ("gpt_neox/heads3_tied", dict(r=3, lora_alpha=6, target_modules="all-linear"), QUIET),
    "gpt_neox_bias_all": ("gpt_neox/heads7_bf16", dict(r=2, lora_alpha=4, target_modules=["query_key_value", "dense"], bias="all",
                                                       use_rslora=True), QUIET),
    "opt_all_linear": ("opt/350m", dict(r=3, lora_alpha=6, target_modules="all-linear"), QUIET),
    "opt_bias_all": ("opt/heads3_untied", dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "fc1"], bias="all"), QUIET),
    "mistral_all_linear": ("mistral/window", dict(r=4, lora_alpha=4, target_modules="all-linear"), QUIET),
    "qwen2_bias_lora_only": ("qwen2/window_above", dict(r=2, lora_alpha=8, target_modules=["k_proj", "down_proj"],
                                                        bias="lora_only"), QUIET),
    "rank_1": ("llama/bf16", dict(r=1, lora_alpha=1, target_modules=["k_proj"])),
}


def load(base, dtype=torch.float64):
    return make_models.load(base, dtype)


def make_adapter(base, path, config, seed, std):
    """Saves an adapter with random A, B and, where they train, biases; the values are float32's."""
    rng = torch.Generator().manual_seed(seed)
    model = peft.get_peft_model(load(base, torch.float32), peft.LoraConfig(task_type="CAUSAL_LM", **config))
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if p.requires_grad:
                p.copy_(torch.randn(p.shape, generator=rng) * (std if "lora" in name else 0.2))
    model.save_pretrained(path)
    for extra in path.glob("README.md"):
        extra.unlink()
    settings = json.loads((path / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = str(pathlib.Path("..") / ".." / base.relative_to(HERE))
    (path / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    return model.get_nb_trainable_parameters()[0]


def opened(base, path):
    model = peft.PeftModel.from_pretrained(load(base), path, is_trainable=True)
    return model.double()


def logits_and_loss(model, batch):
    ids, start, labels = batch
    logits = torch.cat([model(input_ids=ids[None, a:b], use_cache=False).logits[0] for a, b in zip(start, start[1:])])
    return logits, F.cross_entropy(logits, labels, ignore_index=-100)


def steps(model, batch, clip):
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW([
        dict(params=[p for p in params if p.ndim >= 2], weight_decay=WEIGHT_DECAY),
        dict(params=[p for p in params if p.ndim < 2], weight_decay=0.0)], **ADAMW)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        _, loss = logits_and_loss(model, batch)
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(params, MAX_GRAD_NORM)
        optimizer.step()
        losses.append(loss.item())
    return losses


def merged(base, path):
    before = load(base, torch.float32).state_dict()
    after = peft.PeftModel.from_pretrained(load(base, torch.float32), path).merge_and_unload().state_dict()
    assert before.keys() == after.keys()
    return {k: v.contiguous() for k, v in after.items() if not torch.equal(v, before[k])}


def plain_name(name):
    """base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight -> the name in coati's table."""
    return name.removeprefix("base_model.model.").replace(".default.", ".").replace(".base_layer.", ".")


def make(name, out, base, config, std=0.3):
    base, path, seed = HERE / base, out / name, zlib.crc32(name.encode())
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    trainable = make_adapter(base, path, config, seed, std)
    stored = safetensors.torch.load_file(base / "expect.safetensors")
    batch = stored["input_ids"].long(), stored["seq_start"].tolist(), stored["labels"].long()
    models = [opened(base, path) for _ in range(3)]
    with float64_everywhere():
        for m in models:
            make_models.exact_tables(m.base_model.model)
        model, model_plain, model_clipped = models
        logits, loss = logits_and_loss(model, batch)
        loss.backward()
        grads = {plain_name(n): p.grad for n, p in model.named_parameters() if p.requires_grad}
        norm = torch.stack([g.norm() for g in grads.values()]).norm().item()
        plain = steps(model_plain, batch, False)
        clipped = steps(model_clipped, batch, True)
    tensors = {k: stored[k] for k in ("input_ids", "seq_start", "labels")}
    tensors["logits"] = logits.detach()
    tensors.update({"grad." + n: g.float().contiguous() for n, g in grads.items()})
    safetensors.torch.save_file(tensors, path / "expect.safetensors")
    safetensors.torch.save_file(merged(base, path), path / "merged.safetensors")
    (path / "expect.json").write_text(json.dumps(dict(
        base=str(base.relative_to(HERE)), loss=loss.item(), grad_norm=norm, trainable=trainable, adamw_losses=plain,
        adamw_losses_clipped=clipped), indent=1) + "\n")
    print(f"{name}: {trainable} trainable, loss {plain[0]:.6f} to {plain[-1]:.6f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "lora")
    parser.add_argument("cases", nargs="*", metavar="case")
    args = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    for name, settings in CASES.items():
        if not args.cases or name in args.cases:
            make(name, args.out, *settings)


if __name__ == "__main__":
    main()
