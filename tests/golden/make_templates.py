#!/usr/bin/env python3
"""Conversations through transformers' apply_chat_template: text, ids and the mask of assistant tokens, for
tests/data/test_template_golden.c. Usage: make_templates.py [SHARED_DATA]: with it also the real LLaMA 2 and 3 tokenizers.
Writes tests/golden/templates/cases.jsonl and shared.jsonl. The .jinja files beside them are the templates as the models
publish them, with transformers' {% generation %} around what an assistant emits."""
import json, os, sys
from transformers import PreTrainedTokenizerFast

here = os.path.dirname(os.path.abspath(__file__))
fixtures = os.path.join(here, "..", "tokenizers")
U, A, S = "user", "assistant", "system"
CONVERSATIONS = [
    [(U, "Hi there"), (A, "Hello! How are you?")],
    [(S, "Be brief."), (U, "What is 2+2?"), (A, "4")],
    [(U, "a"), (A, "b"), (U, "c\nd"), (A, " e "), (U, "f"), (A, "g")],
    [(S, " Two\n\nlines "), (U, "  spaces  "), (A, "\n\tfun(x);\n"), (U, "\u3000wide\u00a0"), (A, "\u3000wide\u00a0")],
    [(U, "你好，世界 🌍"), (A, "émoji 👩‍👩‍👧 ok")],
    [(U, "[INST] is text, so is <<SYS>>"), (A, "### Response: too")],
    [(U, ""), (A, "")],
]
SETS = [  # template, tokenizer directory, bos, eos
    ("llama2", "llama2", "<s>", "</s>"), ("mistral", "mistral", "<s>", "</s>"), ("mistral", "llama2", "<s>", "</s>"), ("zephyr", "llama2", "<s>", "</s>"),
    ("zephyr", "mistral", "<s>", "</s>"), ("vicuna", "llama2", "<s>", "</s>"), ("hh", "llama2", "<s>", "</s>"), ("chatml", "qwen2", None, "<|endoftext|>"),
    ("zephyr", "qwen2", None, "<|endoftext|>"),
]


def cases(template, directory, name, bos, eos):
    tok = PreTrainedTokenizerFast(tokenizer_file=os.path.join(directory, "tokenizer.json"), bos_token=bos, eos_token=eos)
    jinja = open(os.path.join(here, "templates", template + ".jinja"), encoding="utf-8").read()
    for turns in CONVERSATIONS:
        messages = [{"role": r, "content": c} for r, c in turns]
        if template == "mistral" or template == "hh":
            messages = [m for m in messages if m["role"] != S]
        for prompt in (False, True):
            m = messages[:-1] if prompt else messages
            date = {"date_string": "26 Jul 2024"} if template == "llama3.1" else {} # its own where the day is not told
            text = tok.apply_chat_template(m, chat_template=jinja, tokenize=False, add_generation_prompt=prompt, **date)
            out = tok.apply_chat_template(m, chat_template=jinja, tokenize=True, return_dict=True, add_generation_prompt=prompt,
                                          return_assistant_tokens_mask=True, **date)
            yield {"template": template, "tokenizer": name, "bos": bos or "", "eos": eos, "prompt": int(prompt), "messages": m, "text": text,
                   "ids": out["input_ids"], "mask": out["assistant_masks"]}


def write(name, sets):
    with open(os.path.join(here, "templates", name), "w", encoding="utf-8") as f:
        for s in sets:
            for case in cases(*s):
                f.write(json.dumps(case, ensure_ascii=False, separators=(",", ":")) + "\n")


write("cases.jsonl", [(t, os.path.join(fixtures, d), d, b, e) for t, d, b, e in SETS])
if len(sys.argv) > 1:
    l2, l3 = os.path.join(sys.argv[1], "tokenizers/llama2/hf"), os.path.join(sys.argv[1], "tokenizers/llama3")
    write("shared.jsonl", [(t, l2, "llama2/hf", "<s>", "</s>") for t in ("llama2", "zephyr", "vicuna", "hh", "mistral")] +
          [(t, l3, "llama3", "<|begin_of_text|>", "<|end_of_text|>") for t in ("llama3", "llama3.1")])
