#!/usr/bin/env bash
# garbage.sh DIR: each function of a plugin of each kind returns garbage in turn; coati-run ends in a message, never in a signal.
. "$COATI_SRC/tests/e2e/lib.sh"
cd "$work" || exit 1
dir=$1
export OMP_NUM_THREADS=1
for i in $(seq 12); do printf 'What is %d plus 1?\t\t%d\n' "$i" "$((i + 1))"; done >data.tsv
mkdir bytes && echo >bytes/my_bytes.txt
mkdir model && cp "$COATI_SRC/tools/quickstart/model/tokenizer.model" model/
cat >model/config.json <<JSON
{"model_type": "my_model", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 297, "max_position_embeddings": 64}
JSON
sed 's/^max_records = .*/max_records = 12/; s/^epochs = .*/epochs = 1/; /weight_decay/d' train.ini >small.ini

# One run; GARBAGE is the case, KIND the plugin.
go() {
  local kind=$1; shift
  case $kind in
    model) set -- model.path=model "$@" ;;
    loss) set -- loss.name=my_loss "$@" ;;
    dataset) set -- dataset.path=data.tsv "$@" ;;
    tokenizer) set -- tokenizer.name=my_bytes tokenizer.path=bytes "$@" ;;
    optimizer) set -- optimizer.name=my_sgd "$@" ;;
    strategy) set -- strategy.name=my_strategy "$@" ;;
    backend) set -- run.backend=my_backend "$@" ;;
  esac
  rm -rf out && "$run" -q small.ini plugins.path="$dir/$kind" "$@"
}
# bad KIND CASE TEXT: exit code 1 to 4, and one message, which holds TEXT.
bad() {
  local code
  COATI_GARBAGE=$2 go "$1" >out.log 2>&1
  code=$?
  [ "$code" -ge 1 ] && [ "$code" -le 4 ] || { echo "exit $code"; cat out.log; return 1; }
  grep -qF -- "$3" out.log || { echo "no \"$3\" in:"; cat out.log; return 1; }
  [ "$(grep -c '^coati-run: ' out.log)" -eq 1 ] || { echo "not one message:"; cat out.log; return 1; }
}
codes() { # KIND FUNCTION...: codes that do not exist, and errors without a word
  local kind=$1 f; shift
  for f in "$@"; do
    check "$kind $f: 42" bad "$kind" "$f:code" "returned 42, which is no status"
    check "$kind $f: -77" bad "$kind" "$f:low" "returned -77, which is no status"
    check "$kind $f: no reason" bad "$kind" "$f:mute" "failed with code -7 and gave no reason"
  done
}
good() { check "$1, no garbage" go "$1"; }

good model
codes model open info params
while IFS='|' read -r what text; do check "model $what" bad model "$what" "$text"; done <<'LIST'
info:nothing|the model says it has 0 layers
info:layers|the model says it has 4000000000 layers
info:width|width 0
info:wide|build() returned 32 columns, d_model is 96
info:vocab|only 0
info:many|297000 token ids, its lm_head has 297 rows
info:kinds|4294967295 kinds of block
params:nothing|0 parameters
params:null|a parameter that is NULL
params:small|struct_size is 3
params:unit|unit 7
params:nameless|a name is missing
params:huge|2^40 elements
params:negative|size -4 in dimension 0
params:dims|200 dimensions
params:init|unknown init 99
params:tied|tied to itself
params:braces|{} more than once
params:group|file_group of -1
params:table|ids up to 296 are possible, table 'short' has 3 rows
build:nothing|returned no value
build:huge|value 4000000000, which does not exist
build:ids|something else than hidden states
build:param|something else than hidden states
build:norm|something else than hidden states
build:values|value 77777, which does not exist
build:bias|value 99999, which does not exist
build:name|by no name
build:unknown|no parameter 'no such thing'
build:rope|no settings
build:attention|no settings
build:split|part 0 has a width of -5
build:parts|1 to 8 parts, not 4000000000
build:widths|split
build:custom|custom op ''
build:gather|row_gather
build:table|embedding
build:label|returned no value
final:ids|something else than hidden states
final:head|something else than hidden states
block_kind:huge|in block kind 4000000000 of 1
LIST

good loss
codes loss open
while IFS='|' read -r what text; do check "loss $what" bad loss "$what" "$text"; done <<'LIST'
build:nothing|value 0, which does not exist
build:huge|value 4000000000, which does not exist
build:hidden|is no scalar
build:mask|is no scalar
build:labels|is no scalar
build:column|no column 'moon'
build:null|by no name
metric:null|without a name
metric:huge|huge is value 4000000000, which does not exist
metric:none|none is value 0, which does not exist
metric:hidden|hidden is no scalar
metric:many|more than 16 metrics
metric:twice|names the metric 'a' twice
metric:text|at most 40 letters, digits and _ are possible
metric:long|at most 40 letters, digits and _ are possible
metric:taken|names a metric 'grad_norm', which metrics.jsonl has already
LIST

good dataset
codes dataset open count read clone
while IFS='|' read -r what text; do check "dataset $what" bad dataset "$what" "$text"; done <<'LIST'
count:negative|says -7 records
count:huge|says 9223372036854775807 records
count:none|the dataset is empty
count:more|the data ended early
read:end|the data ended early
read:null|data.tsv: row
read:many|gives 4000000000 fields
read:name|not all of them whole
read:data|not all of them whole
read:long|not all of them whole
read:nul|not all of them whole
read:type|not all of them whole
LIST
check "dataset read:nothing" bad dataset read:nothing "instruction"

good tokenizer
codes tokenizer open n_vocab encode
while IFS='|' read -r what text; do check "tokenizer $what" bad tokenizer "$what" "$text"; done <<'LIST'
n_vocab:none|n_vocab() says 0
n_vocab:negative|n_vocab() says -1
n_vocab:huge|n_vocab() says 9223372036854775807
n_vocab:more|do not belong together
encode:null|the tokenizer's encode() gives
encode:many|the tokenizer's encode() gives
encode:negative|gives id -5
encode:huge|gives id 2147483647
special:huge|is 2147483647, its vocabulary has 257
LIST

good optimizer
codes optimizer open update
check "optimizer n_state:huge" bad optimizer n_state:huge "states"
check "optimizer update:nan" bad optimizer update:nan "not finite"

good strategy
codes strategy open begin end acquire release grads_ready step read write gather bytes
while IFS='|' read -r what text; do check "strategy $what" bad strategy "$what" "$text"; done <<'LIST'
acquire:nothing|lacks parameters or gradients
acquire:params|lacks parameters or gradients
acquire:empty|lacks parameters or gradients
acquire:grads|lacks parameters or gradients
acquire:frozen|lacks parameters or gradients
acquire:adds|lacks parameters or gradients
bytes:huge|bytes() says 18446744073709551615
bytes:large|the run needs
LIST

good backend
codes backend open memory alloc copy event_new event_record event_sync workspace prepare run flat_sqnorm flat_cast flat_adamw step_factor
while IFS='|' read -r what text; do check "backend $what" bad backend "$what" "$text"; done <<'LIST'
memory:none|0.0 GiB are free
alloc:nothing|the backend's alloc() gives (nil)
alloc:odd|the backend's alloc() gives 0x11
supports:code|it gives no reason
supports:mute|it gives no reason
supports:endless|the backend cannot run embedding
workspace:huge|asks for 18446744073709551615 bytes
workspace:large|the run needs
prepare:nothing|the backend's prepare() gives nothing
step_factor:nan|not finite
stream_sync:code|returned 42
LIST

if [ "$STATIC" != ON ]; then # the built-in one is there first
  good comm
  codes comm open info
  while IFS='|' read -r what text; do check "comm $what" bad comm "$what" "$text"; done <<'LIST'
info:nothing|rank -1 of -1
info:world|of 0
info:rank|rank 5 of 1
info:local|0 of -3 on this machine
LIST
fi

# Generation: what only it calls.
"$run" -q small.ini run.output=asked tokenizer.name=my_bytes tokenizer.path=bytes plugins.path="$dir/tokenizer" || exit 1
cp bytes/my_bytes.txt asked/model/ && rm -f asked/model/tokenizer.model
ask() { COATI_PLUGIN_PATH=$dir/tokenizer:$COATI_PLUGIN_PATH COATI_GARBAGE=$1 exits "$2" "$3" "$COATI_BIN/coati-generate" --model asked/model --prompt "What is" --max-new-tokens 3 --json; }
check "asks" ask none 0 '"text"'
check "decode: 42" ask decode:code 2 "returned 42, which is no status"
check "decode: no reason" ask decode:mute 1 "gave no reason"
check "decode: null" ask decode:null 2 "the tokenizer's decode() gives 5 bytes"
check "decode: long" ask decode:long 2 "the tokenizer's decode() gives"
finish
