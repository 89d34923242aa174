#!/usr/bin/env bash
# wrong.sh DIR: each way to be wrong has its line; and what crashes, hangs or exits is a line too.
. "$COATI_SRC/tests/e2e/lib.sh"
cd "$work" || exit 1
dir=$1 validate=$COATI_BIN/coati-validate
echo '{"model_type": "wrong", "hidden_size": 6, "num_hidden_layers": 2, "vocab_size": 13, "num_attention_heads": 3}' >config.json
mkdir model && echo x >model/wrong.model && echo x >some.wrong

# says KIND WRONG TEXT [OPTIONS]: fails with exactly one FAIL line, which holds TEXT.
says() {
  local kind=$1 way=$2 text=$3; shift 3
  case $kind in model) set -- --config config.json "$@" ;; dataset) set -- --data some.wrong "$@" ;; tokenizer) set -- --data model "$@" ;; esac
  COATI_WRONG=$way exits 1 "FAIL" "$validate" -q "$@" "$dir/$kind.so" || return 1
  [ "$(grep -c ' FAIL ' out.log)" -eq 1 ] || { echo "not one line:"; cat out.log; return 1; }
  grep ' FAIL ' out.log | grep -qF -- "$text" || { echo "no \"$text\" in:"; cat out.log; return 1; }
}
right() { local kind=$1; shift; exits 0 "passed" "$validate" "$@" "$dir/$kind.so"; }

check "model, nothing wrong" right model --config config.json
check "model whose backward reads its output" env COATI_WRONG=exp "$validate" --config config.json "$dir/model.so"
check "loss, nothing wrong" right loss
check "optimizer, nothing wrong" right optimizer
check "dataset, nothing wrong" right dataset --data some.wrong
check "tokenizer, nothing wrong" right tokenizer --data model
check "a second symbol" says two_symbols none "also_visible: only coati_plugin_v1 is wanted"

check "an error without a message" says loss silent "open() fails with -5 and no message"
check "a code that does not exist" says loss code "open() returns 42, which is no status"
check "exits" says loss exit "the process ended with code 7: a plugin does not exit"
check "hangs" says loss hang "no end after 1 seconds" --timeout 1
check "one object for all" says loss shared "two instances are the same object"
check "one at a time" says loss once "a second instance cannot be opened: only one at a time"
check "a leak" says loss leak "close() leaves 300 bytes"
check "no check for memory" says loss nomem "open() when allocation 1 of host->alloc fails: the process"

check "an option at its end" says model option "open() returns -1000, which is no status"
check "a file that lies" says model config 'config.json with "hidden_size"'
check "info changes" says model info "info() says something else when asked again"
check "no head" says model head 'declares no "lm_head"'
check "no deviation" says model std 'parameter "w" starts from normal numbers of deviation 0'
check "an unused parameter" says model unused 'parameter "unused" of the block unit is declared and never used'
check "an unknown parameter" says model name "no parameter 'no such thing' is declared"
check "no value of the graph" says model value "build() returned 77777, which is no value of the graph"
check "no value" says model nothing "build() returned 0"
check "another shape" says model shape "something else than hidden states"
check "crashes" says model crash "build() of the block unit, and its derivatives on backend ref: the process"
check "other derivatives" says model gradient "gradients of the block unit"
check "state beyond the instance" says model state "two runs in turn differ at step"

check "an unknown column" says loss field "moon"
check "no scalar" says loss scalar "build() returned no scalar"
check "a nameless metric" says loss metric "a metric without a name"
check "the mask ignored" says loss mask "a label whose mask is 0 changes the loss"
check "no update" says optimizer refuses "no update tonight"
check "uphill" says optimizer uphill "the loss does not fall"
check "by chance" says optimizer random "two runs in turn differ"

check "a negative count" says dataset count "count() says -3"
check "fewer than counted" says dataset early "record 2 of 4: CO_END"
check "no end" says dataset late "past the end is CO_END"
check "no fields" says dataset null "1 fields and no array"
check "no data" says dataset "no data" "no name or no data"
check "no NUL" says dataset nul "no NUL after its 3 bytes"
check "no UTF-8" says dataset utf8 "not UTF-8"
check "a type that does not exist" says dataset type "type 9 does not exist"
check "depends on the order" says dataset order "records differ when read backwards"
check "no vocabulary" says tokenizer vocab "n_vocab() says 0"
check "an id beyond the vocabulary" says tokenizer id "the vocabulary has 256"
check "a special one beyond it" says tokenizer special 'special("eos") is 999'
check "marks in the wrong place" says tokenizer marks "are not where they were put"
check "no text back" says tokenizer back "no text"
check "crashes on an unknown id" says tokenizer wild "decode() of ids that do not exist: the process"
check "refuses silently" says tokenizer mute "and no message"
check "not for threads" says tokenizer thread "from several threads gives other ids"

check "not a plugin" exits 1 "not a shared object" "$validate" -q config.json
check "cut" sh -c "head -c 5000 '$dir/loss.so' > cut.so"
check "a cut plugin" exits 1 "FAIL" "$validate" -q cut.so
check "no such file" exits 2 "no such file" "$validate" nowhere.so
check "no argument" exits 2 "PLUGIN.so is wanted" "$validate"
check "a setting without a value" exits 2 "KEY=VALUE" "$validate" --set x "$dir/loss.so"
check "a setting out of range" exits 1 "out of range" "$validate" --config config.json --set size=9 "$dir/model.so"
check "help" exits 0 "usage: coati-validate" "$validate" --help
finish
