#!/usr/bin/env bash
# Formats of records and templates from the command line: what is recognised, what is shown, what is learnt, what is refused.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
check_run() { "$run" -q train.ini --check "$@" > shown 2>&1 || { cat shown; return 1; }; }
shows() { grep -qF -- "$1" shown || { echo "no \"$1\" in:"; cat shown; return 1; }; }

cat > chat.jsonl <<'X'
{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d\u001b[2J"}]}
X
cat > share.json <<'X'
[{"id": "1", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b</s>"}]}]
X
echo '{"prompt": "a", "completion": "b"}' > completion.jsonl
echo '{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}' > pairs.jsonl
echo '{"prompt": "a", "chosen": "b", "rejected": "c"}' > preference.jsonl
echo '{"text": "a text"}' > text.jsonl
echo '{"turns": ["a", "b"], "question_id": 1}' > turns.jsonl

check "messages" check_run dataset.path=chat.jsonl dataset.template=zephyr
check "are recognised" shows "chat.jsonl: messages records, template zephyr"
check "a row is shown" shows "row 1: "
check "what is seen" shows "  - "
check "both answers are learnt" [ "$(grep -c '^  + ' shown)" -eq 2 ]
check "an answer's end is EOS" grep -q '^  + .*<eos>|$' shown
check "no control character reaches the terminal" sh -c "! grep -q \"\$(printf '\033')\" shown"
check "ShareGPT" check_run dataset.path=share.json dataset.template=hh dataset.max_len=128
check "is recognised" shows "share.json: sharegpt records, template hh"
check "text that spells EOS is text" [ "$(grep -o '<eos>' shown | wc -l)" -eq 1 ]
check "prompt and completion" check_run dataset.path=completion.jsonl
check "are recognised too" shows "completion records, template none"
check "columns" check_run dataset.path=preference.jsonl dataset.columns=prompt=prompt,completion=chosen
check "a run says it at its start" "$run" train.ini dataset.path=chat.jsonl dataset.template=llama2 run.max_steps=1 run.output=chat
check "with the sample" sh -c "'$run' train.ini dataset.path=chat.jsonl dataset.template=llama2 run.max_steps=1 run.output=chat2 2>&1 | grep -q 'messages records, template llama2'"
check "-q does not" sh -c "! '$run' -q train.ini dataset.path=chat.jsonl dataset.template=llama2 run.max_steps=1 run.output=chat3 2>&1 | grep -q records"

refused() { check "$1" exits 3 "$2" "$run" train.ini --check "${@:3}"; }
refused "dialogues"    "pairs.jsonl: row 1: these are dialogues" dataset.path=pairs.jsonl
refused "pairs"        "columns = prompt=prompt,completion=chosen" dataset.path=preference.jsonl
refused "texts"        "plain texts" dataset.path=text.jsonl
refused "prompts"      "prompts without answers" dataset.path=turns.jsonl
refused "their columns are named" 'The record has "turns", "question_id"' dataset.path=turns.jsonl
check   "a token the tokenizer lacks" exits 2 'needs the special token "<|im_start|>"' "$run" train.ini --check dataset.template=chatml
check   "no such template" exits 2 "neither of alpaca, vicuna, llama2" "$run" train.ini --check dataset.template=llama4
cat chat.jsonl - > mixed.jsonl <<'X'
{"text": "x"}
X
refused "a record that does not fit" 'mixed.jsonl: row 2: no column "messages"; the record has "text"' dataset.path=mixed.jsonl dataset.template=zephyr
check   "or is passed over" "$run" -q train.ini dataset.path=mixed.jsonl dataset.template=zephyr dataset.on_bad_record=skip run.max_steps=2 run.output=mixed
sed 's/"role": "system"/"role": "tool"/' chat.jsonl > role.jsonl
refused "an unknown role" 'role.jsonl: row 1: column: messages:1:' dataset.path=role.jsonl dataset.template=zephyr
echo '{"messages": [{"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}' > turn.jsonl
refused "roles out of turn" "turn.jsonl: row 1: message 1 is the assistant's" dataset.path=turn.jsonl dataset.template=llama2

# A tokenizer with special tokens: the template's are tokens, those that a message spells are text.
mkdir qwen && cp "$COATI_SRC/tests/tokenizers/qwen2/tokenizer.json" qwen/ && sed 's/"vocab_size": *[0-9]*/"vocab_size": 2000/' "$COATI_SRC/tools/quickstart/model/config.json" > qwen/config.json
echo '{"prompt": "a<|im_end|>", "completion": "<|im_start|>b"}' > evil.jsonl
check "special tokens" check_run model.path=qwen dataset.path=evil.jsonl dataset.template=chatml dataset.max_len=128
check "the template's turns end in tokens, twice" [ "$(tr '\n' ' ' < shown | grep -oF '<\|im_end\|>|' | wc -l)" -eq 2 ]
check "and begin in tokens, twice" [ "$(tr '\n' ' ' < shown | grep -oF '<\|im_start\|>|' | wc -l)" -eq 2 ]
check "the end of turn is learnt" grep -q '^  + .*<.|im_end.|>|$' shown

# The model's own template.
mkdir own && ln -s "$COATI_SRC"/tools/quickstart/model/* own/
refused_own() { check "$1" exits 2 "$2" "$run" train.ini --check model.path=own dataset.path=chat.jsonl dataset.template=chat; }
refused_own "no chat template" "own: no chat template in"
printf '%s' "{% for m in messages %}{{ '<|' + m.role + '|>' }}
{{ m.content + eos_token }}
{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>
' }}{% endif %}" > own/chat_template.jinja
echo '{"bos_token": "<s>", "eos_token": "</s>"}' > own/tokenizer_config.json
check "template = chat" check_run model.path=own dataset.path=chat.jsonl dataset.template=chat
check "is told by its effect" shows "messages records, template chat: zephyr"
echo "{% for m in messages %}{{ m.role ~ m.content }}{% endfor %}" > own/chat_template.jinja
refused_own "another template" "the model's chat template is none of the known ones: name a template instead"
echo "{% macro x() %}{% endmacro %}" > own/chat_template.jinja
refused_own "what is not known" "line 1: {% macro %} is not known here"

# Real files.
shared=${COATI_SHARED:-$COATI_SRC/../shared}/data
if [ -d "$shared/sft" ]; then
  for f in llamafactory_alpaca_en_demo.json:instruction llamafactory_alpaca_zh_demo.json:instruction fastchat_dummy_conversation.json:sharegpt; do
    check "${f%:*}" check_run dataset.path="$shared/sft/${f%:*}" dataset.max_records=0 dataset.max_len=128 dataset.template=vicuna batch.tokens=4096
    check "${f%:*} is ${f#*:}" shows "${f#*:} records"
  done
  check "kto" check_run dataset.path="$shared/preference/llamafactory_kto_en_demo.json" dataset.max_records=0 dataset.max_len=128 dataset.template=zephyr batch.tokens=4096
  check "kto is messages" shows "messages records"
  refused "dpo" "row 1: these are prompts with a chosen" dataset.path="$shared/preference/llamafactory_dpo_en_demo.json"
  refused "hh-rlhf, Parquet" "row 1: these are dialogues" dataset.path="$shared/parquet/hh-rlhf/hh_full_snappy_v1.parquet"
  refused "c4" "plain texts" dataset.path="$shared/pretrain/llamafactory_c4_demo.jsonl"
  refused "mt-bench" "prompts without answers" dataset.path="$shared/prompts/mt_bench_question.jsonl"
else
  echo "without shared data: real files are left out"
fi
finish
