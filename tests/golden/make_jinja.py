#!/usr/bin/env python3
"""Pieces of Jinja and whole chat templates through transformers, for tests/data/test_jinja.c.
Writes tests/golden/templates/jinja.jsonl (source, messages, the text or "raised") and known.jsonl (templates as models publish them, and
the name each is known by here; "" : none)."""
import json, os
from transformers import PreTrainedTokenizerFast
from jinja2.exceptions import TemplateError

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")
fixture = os.path.join(here, "..", "..", "tokenizers", "llama2", "tokenizer.json")
tok = PreTrainedTokenizerFast(tokenizer_file=fixture, bos_token="<s>", eos_token="</s>")
M = [{"role": "system", "content": " S\n"}, {"role": "user", "content": "\u3000héllo <b>\n"}, {"role": "assistant", "content": "A'b\"c"}, {"role": "user", "content": "x,y,,z"}]

PIECES = [
    "plain text", "", "a\n", "a\n\n", "{{ bos_token }}{{ eos_token }}", "{{ nothing }}|{{ messages[0].nothing }}|", "{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }}",
    "{{ (1 + 2) * 3 }} {{ 5 % 3 == 2 }} {{ true }} {{ none }} {{ not true }}", "{{ 'a' ~ 1 ~ 'b' }} {{ \"q'\" }} {{ 'n\\nt\\t\\\\\\'' }}",
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }}:{{ m.role }}={{ m['content'] | trim }};{% endfor %}",
    "{% for m in messages %}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.revindex }}{{ loop.revindex0 }} {% endfor %}",
    "{% for m in messages[1:] %}{{ m.role }},{% endfor %}{% for m in messages[:-1] %}{{ m.role }},{% endfor %}{% for m in messages[1:3] %}{{ m.role }}{% endfor %}",
    "{% for m in messages[::-1] %}{{ m.role }},{% endfor %}{{ messages[-1].content }}{{ messages[99] }}",
    "{% for m in messages if m.role != 'system' %}{{ loop.index }}{{ m.role }}{% else %}none{% endfor %}", "{% for m in [] %}x{% else %}empty{% endfor %}",
    "{% for m in messages %}{% if m.role == 'user' %}U{% elif m.role == 'assistant' %}A{% else %}S{% endif %}{% endfor %}",
    "{% set x = 1 %}{% for m in messages %}{{ x }}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}", "{% set ns = namespace(n=0, s='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% set ns.s = ns.s + m.role[:1] if false else ns.s + 'r' %}{% endfor %}{{ ns.n }}{{ ns.s }}",
    "{% if true %}{% set y = 'set' %}{% endif %}{{ y }}", "{% for m in messages %}{% if loop.index == 2 %}{% continue %}{% endif %}{% if loop.index == 4 %}{% break %}{% endif %}{{ loop.index }}{% endfor %}",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  {%- if true -%}\n  b\n  {%- endif -%}\nc\n", "  {{ 'x' }}\n  {{- 'y' -}}  \nz", "{# note #}\nx {# y #} z\n  {#- cut -#}  w", "a {%+ if true %} b {% endif +%}\nc",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% endif %}{{ loop_messages | length }}",
    "{{ 'abc'.upper() }}{{ 'ABC' | lower }}{{ ' a '.strip() }}|{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}|{{ 'xxaxx'.strip('x') }}", "{{ 'a-b-c'.split('-') | join('+') }}{{ 'a-b'.split('-')[-1] }}{{ 'banana'.replace('an', 'o') }}{{ 'banana' | replace('a', '') }}",
    "{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith('bc') }}{{ 'b' in 'abc' }}{{ 'z' not in 'abc' }}{{ 'role' in messages[0] }}{{ 2 in [1, 2] }}",
    "{{ messages[1].content | length }} {{ 'héé' | length }} {{ [] | length }}", "{{ x is defined }}{{ messages is defined }}{{ x is undefined }}{{ none is none }}{{ 'a' is string }}{{ messages[0] is mapping }}{{ messages is iterable }}{{ 1 is number }}{{ 3 is odd }}{{ x is not defined }}{{ true is true }}",
    "{{ nothing | default('d') }}{{ '' | default('d') }}{{ '' | default('d', true) }}{{ messages | first == messages[0] }}{{ (messages | last).role }}",
    "{{ 'a' if false else 'b' }}{{ 'a' if false }}|{{ 1 if 0 or none or '' else 2 }}{{ 1 and 'x' }}{{ 0 or 'y' }}", "{{ messages[0].get('role') }}{{ messages[0].get('zz', 'd') }}{{ messages[0].get('zz') }}", "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}",
    "{{ {'a': 1, 'b': [1, 'x']}['b'][1] }}{% for i in range(2, 5) %}{{ i }}{% endfor %}{{ 1 < 2 < 3 }}{{ 3 > 2 > 2 }}", "{{ messages[1].content | trim }}|{{ messages[1]['content'].strip() }}|", "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}",
    "{% if messages[1].role != 'assistant' %}{{ raise_exception('no: ' + messages[1].role) }}{% endif %}", "{% for m in messages %}{{ (m.role == 'user') != (loop.index0 % 2 == 0) }}{% endfor %}", "{{ '{{' }} {{ '%}' }}", "{{ 'a' == \"a\" }}{{ 1 == '1' }}{{ true == 1 }}{{ none == false }}",
    "{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined else '-' }}>{{ loop.nextitem.role if loop.nextitem is defined }} {% endfor %}", "{% set a = [1, 2] + [3] %}{{ a | join(',') }}{{ a[1:] | length }}", "{%- for m in messages -%}\n  {{ m.role }}\n{%- endfor %}", "x{% generation %} y {% endgeneration %}\nz",
]

A = "{% if add_generation_prompt %}"
LLAMA3 = "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
QWEN2 = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}" + A + "{{ '<|im_start|>assistant\n' }}{% endif %}"
with open(os.path.join(here, "llama3.1.jinja"), encoding="utf-8") as f:
    LLAMA31 = f.read()  # LLaMA 3.1's without its built-in tools, as 3.2's is
KNOWN = [  # name here, template, bos, eos
    ("llama3", LLAMA3 + A + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}", "<|begin_of_text|>", "<|eot_id|>"),
    ("llama3", LLAMA3 + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}", "<|begin_of_text|>", "<|end_of_text|>"),
    ("llama3.1", LLAMA31, "<|begin_of_text|>", "<|eot_id|>"),
    ("llama2", "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'system' %}{{ '<<SYS>>\\n' + content.strip() + '\\n<</SYS>>\\n\\n' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}", "<s>", "</s>"),
    ("chatml", "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}" + A + "{{ '<|im_start|>assistant\n' }}{% endif %}", None, "<|im_end|>"),
    ("chatml, its own system message", QWEN2, None, "<|im_end|>"),
    ("chatml, BOS first", "{{ bos_token }}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}" + A + "{{ '<|im_start|>assistant\n' }}{% endif %}", "<s>", "<|im_end|>"),
    ("chatml, white space cut", "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' + '\n'}}{% endfor %}" + A + "{{ '<|im_start|>assistant\n' }}{% endif %}", None, "<|im_end|>"),
    ("zephyr", "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}", "<s>", "</s>"),
    ("mistral", "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}", "<s>", "</s>"),
    ("", "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}" + A + "{{'<start_of_turn>model\n'}}{% endif %}", "<bos>", "<eos>"),
    ("", "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}" + A + "{{ '<|assistant|>\n' }}{% endif %}", "<s>", "<|endoftext|>"),
    ("zephyr", "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}" + A + "{{ '<|assistant|>\n' }}{% endif %}", "<s>", "<|end|>"),  # alike, where that is EOS
    ("", LLAMA3.replace("message['content'] | trim", "message['content'] | trim + ('!' if loop.index > 6 else '')") + A + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}", "<|begin_of_text|>", "<|eot_id|>"),
    ("?{% macro %}", "{% macro f(x) %}{{ x }}{% endmacro %}{{ f('a') }}", "<s>", "</s>"),
    ("?strftime_now", "{% set date = strftime_now('%d %b %Y') %}{{ date }}", "<s>", "</s>"),
    ("?tojson", "{{ messages | tojson }}", "<s>", "</s>"),
]


def line(f, o):
    f.write(json.dumps(o, ensure_ascii=False, separators=(",", ":")) + "\n")


with open(os.path.join(here, "jinja.jsonl"), "w", encoding="utf-8") as f:
    for source in PIECES:
        for prompt in (False, True):
            try:
                text, raised = tok.apply_chat_template(M, chat_template=source, tokenize=False, add_generation_prompt=prompt), 0
            except TemplateError as e:
                text, raised = str(e), 1
            line(f, {"template": source, "prompt": int(prompt), "bos": "<s>", "eos": "</s>", "messages": M, "text": text, "raised": raised})
with open(os.path.join(here, "known.jsonl"), "w", encoding="utf-8") as f:
    for name, source, bos, eos in KNOWN:
        line(f, {"tokenizer": name, "template": source, "bos": bos or "", "eos": eos})
