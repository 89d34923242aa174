#!/usr/bin/env bash
# A model's directory that is wrong: weights that end early, lie, or belong to another config.json; broken config.json and
# tokenizer files. Always exit 3, the file named, and nothing written.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
"$run" -q train.ini run.output=base run.max_steps=1 || exit 1
good=base/model

model() { rm -rf m; cp -r $good m; }
with() { "$run" --check train.ini model.path=m model.init=pretrained "$@"; }
bad() { check "$1" exits 3 "$2" with; } # bad WHAT TEXT: what is in m/ is refused, with TEXT in one line
bad_weights() { bad "$1" "m/model.safetensors: "; check "$1: says what" sh -c 'grep -qF -- "$1" out.log || { cat out.log; false; }' - "$2"; check "$1: one line" [ "$(grep -c . out.log)" -eq 1 ]; }
header() { model; LC_ALL=C sed -i "1s/$1/$2/" m/model.safetensors; ! cmp -s m/model.safetensors $good/model.safetensors || { echo "failed: no such text: $1"; failed=$((failed + 1)); }; }

model; check "as it was written" exits 0 "ok: " with

# ---- weights
size=$(wc -c <$good/model.safetensors)
header_size=$(od -An -tu8 -N8 $good/model.safetensors | tr -d ' ')
for n in 0 7 8 100 $((8 + header_size - 1)) $((8 + header_size)) $((size - 1)); do
  model; head -c "$n" $good/model.safetensors >m/model.safetensors
  bad_weights "cut to $n bytes" "bytes"
done
model; echo x >>m/model.safetensors; bad_weights "bytes behind the end" "bytes"
model; printf '\377\377\377\377\377\377\377\177' | dd of=m/model.safetensors conv=notrunc 2>/dev/null; bad_weights "a header beyond all bounds" "header"
model; printf '\000\341\365\006\000\000\000\000' | dd of=m/model.safetensors conv=notrunc 2>/dev/null; bad_weights "a header longer than the file" "header"
header '"F32"' '"I32"'; bad_weights "another type" "model.embed_tokens.weight"
header '"F32"' '"F99"'; bad_weights "no type at all" "F99"
header '"F32"' '"F64"'; bad_weights "a type that needs more bytes" "model.embed_tokens.weight"
header '\[297,128\]' '[128,297]'; bad_weights "the shape turned round" "[128, 297]"
header '\[297,128\]' '[297,129]'; bad_weights "a shape that needs more bytes" "model.embed_tokens.weight"
header '\[297,128\]' '[-97,128]'; bad_weights "a shape below zero" "model.embed_tokens.weight"
header '"data_offsets":\[0,' '"data_offsets":[8,'; bad_weights "a range of other length" "model.embed_tokens.weight"
header '\[128\],"data_offsets":\[[0-9]' '[128],"data_offsets":[9'; bad_weights "a range that ends before it starts" "data starts at byte"
header 'embed_tokens' 'embed_taken_'; bad_weights "another name" '"model.embed_tokens.weight" missing'
header 'layers.1.input' 'layers.0.input'; bad_weights "a name twice" "model.layers.0.input_layernorm.weight"
header '{' '['; bad_weights "no object" "does not start a JSON object"
# Two tensors of one size that both claim the first one's bytes, and nobody the second's.
at=$(head -c $((8 + header_size)) $good/model.safetensors | tail -c "$header_size" | grep -oE '"shape":\[128,128\],"data_offsets":\[[0-9]+,[0-9]+\]' | grep -oE '\[[0-9]+,[0-9]+\]$' | awk -F'[][,]' '{ if (length($2) == length(was)) { print was, was2, $2, $3; exit } was = $2; was2 = $3 }')
set -- $at
header "\[$3,$4\]" "[$1,$2]"; bad_weights "ranges that overlap" "overlaps tensor"

RANDOM=5
for i in $(seq 24); do # a flipped bit in the header: refused, or harmless, and never anything else
  model
  byte=$((8 + RANDOM % header_size)) bit=$((1 << RANDOM % 8))
  was=$(od -An -tu1 -j $byte -N1 m/model.safetensors)
  printf "\\$(printf %03o $((was ^ bit)))" | dd of=m/model.safetensors bs=1 seek=$byte conv=notrunc 2>/dev/null
  with >flip.log 2>&1; code=$?
  check "byte $byte, bit $bit: exit $code" [ $code -eq 0 -o $code -eq 3 ]
  [ $code -eq 0 ] || check "byte $byte, bit $bit: names the file" grep -qF "m/model.safetensors" flip.log
done

model; rm m/model.safetensors; bad "no weights" "m: neither model.safetensors"
model; rm m/model.safetensors; : >m/pytorch_model.bin; bad "another format" "coati-convert"
model; mv m/model.safetensors m/x; mkdir m/model.safetensors; bad "a folder of that name" "m: "
model; mv m/model.safetensors m/part.safetensors
echo '{"weight_map":{"model.embed_tokens.weight":"gone.safetensors"}}' >m/model.safetensors.index.json; bad "a shard that is gone" "gone.safetensors"
echo '{"weight_map":' >m/model.safetensors.index.json; bad "a broken index" "model.safetensors.index.json:"
echo '{"weight_map":{"model.embed_tokens.weight":"../m/part.safetensors"}}' >m/model.safetensors.index.json; bad "an index that leaves the folder" "../m/part.safetensors"

# ---- config.json
config() { model; sed -i -E "s/\"$1\": *[^,]*/\"$1\": $2/" m/config.json; }
for key in hidden_size num_hidden_layers num_attention_heads vocab_size intermediate_size; do
  for value in 0 -1 '"big"' null 4294967297 99999999999999999999 '[1]'; do
    config $key "$value"; bad "$key = $value" "$key"
    check "$key = $value: names the file" grep -qF "config.json" out.log
  done
done
while read -r key value text; do
  config "$key" "$value"; bad "$key = $value against the weights" "$text"
done <<'END'
hidden_size 256 config.json
hidden_size 30 num_attention_heads
num_hidden_layers 2 num_hidden_layers
num_hidden_layers 4 num_hidden_layers
num_attention_heads 3 num_attention_heads
num_key_value_heads 2 k_proj
num_key_value_heads 3 num_key_value_heads
vocab_size 296 vocab_size
vocab_size 298 vocab_size
intermediate_size 99 intermediate_size
rms_norm_eps -1 rms_norm_eps
model_type "mamba" mamba
model_type 7 model_type
END
tied=$(grep -oE '"tie_word_embeddings": *(true|false)' $good/config.json | grep -oE '(true|false)$')
[ "$tied" = true ] && { config tie_word_embeddings false; bad "untied, and no head in the file" "lm_head.weight"; }
for text in '' '{' '[]' '{"model_type":"llama",}' '{"model_type":"llama"} x' 'null' "$(printf '{"a":%.0s' $(seq 5000))"; do
  model; printf %s "$text" >m/config.json; bad "config.json: ${text:0:30}" "config.json"
done
model; rm m/config.json; bad "no config.json" "config.json"

# ---- tokenizer
model; rm m/tokenizer*; bad "no tokenizer" "m: no tokenizer found; looked for: "
for n in 0 1 1003; do
  model; head -c $n $good/tokenizer.model >x; mv x m/tokenizer.model; bad "tokenizer.model of $n bytes" "tokenizer.model"
done
model; head -c 4000 /dev/zero >m/tokenizer.model; bad "tokenizer.model of zeros" "tokenizer.model"
golden=$COATI_SRC/tests/golden/llama/gqa_tied
rm -rf m; mkdir m; cp "$golden"/config.json "$golden"/model.safetensors $good/tokenizer.model m/
check "another model's tokenizer" exits 3 "do not belong together" with dataset.max_len=16
wrong=${COATI_SHARED:-$COATI_SRC/../shared}/data/tokenizers/wrong_tokenizer
if [ -d "$wrong" ]; then
  model; rm m/tokenizer*; cp "$wrong"/* m/; bad "32,000 ids for a model of 297" "tokenizer"
else
  echo "skipped the shared tokenizer: it is not there"
fi
check "nothing was written" [ ! -e out ]
finish
