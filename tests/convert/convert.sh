#!/usr/bin/env bash
# coati-convert from the command line: shards, PyTorch's own files, merging with its proof, checkpoints, and what is refused.
. "$COATI_SRC/tests/e2e/lib.sh"
cd "$work" || exit 1
convert=$COATI_BIN/coati-convert gen=$COATI_BIN/coati-generate golden=$COATI_SRC/tests/golden
text() { "$gen" --model "$1" --prompt "12 + 7 =" --max-new-tokens 12 "${@:2}"; }
"$run" -q train.ini run.output=base run.max_steps=4 checkpoint.every=2 || exit 1
"$run" -q train.ini model.path=base/model model.init=pretrained run.output=tuned run.max_steps=4 lora.rank=3 lora.alpha=12 lora.bias=all optimizer.lr=0.05 || exit 1

check "help" exits 0 "usage: coati-convert" "$convert" --help
check "shards" exits 0 "in 8 files" "$convert" --max-shard-size 300KB base/model sharded
check "a shard is not larger" sh -c '[ -z "$(find sharded -name "*.safetensors" -size +310k)" ]'
check "the tokenizer comes along" cmp base/model/tokenizer.model sharded/tokenizer.model
check "the same answer" [ "$(text base/model)" = "$(text sharded)" ]
check "back into one file" "$convert" sharded one
check "the same bytes of data" [ "$(tail -c 400000 one/model.safetensors | cksum)" = "$(tail -c 400000 base/model/model.safetensors | cksum)" ]
check "bf16" "$convert" --dtype bf16 base/model half
check "config.json says so" grep -q '"torch_dtype": "bfloat16"' half/config.json
check "half the size" [ "$(stat -c %s half/model.safetensors)" -lt "$(($(stat -c %s base/model/model.safetensors) * 52 / 100))" ]
check "in place" sh -c "cp -r base/model self && '$convert' --dtype fp16 self self && grep -q float16 self/config.json"

check "merges" exits 0 "largest difference" "$convert" --adapter tuned/adapter base/model merged
check "prints both" sh -c "grep -q 'base + adapter' out.log && grep -q '  merged ' out.log"
check "answers as base and adapter do" [ "$(text base/model --adapter tuned/adapter)" = "$(text merged)" ]
check "the adapter does something" [ "$(text base/model)" != "$(text merged)" ]
check "merged in bf16" "$convert" --adapter tuned/adapter --dtype bf16 base/model merged16
check "above the bound" exits 1 "logits differ by" "$convert" --adapter tuned/adapter --dtype bf16 --bound 1e-7 base/model nothing
check "then nothing is written" [ ! -e nothing ] 
check "no leftovers" sh -c '! ls -d *.tmp'

check "a checkpoint" "$convert" base/checkpoints/step-4 restored
check "is the run's model" cmp restored/model.safetensors base/model/model.safetensors
check "an earlier one is not" sh -c "'$convert' --dtype fp32 base/checkpoints/step-2 earlier && ! cmp -s earlier/model.safetensors base/model/model.safetensors"
check "a checkpoint in bf16" sh -c "'$convert' --dtype bf16 base/checkpoints/step-4 restored16 && cmp restored16/model.safetensors half/model.safetensors"
check "a checkpoint of LoRA" "$convert" tuned/checkpoints/step-4 adapter
check "is the run's adapter" cmp adapter/adapter_model.safetensors tuned/adapter/adapter_model.safetensors
check "its settings too" diff adapter/adapter_config.json tuned/adapter/adapter_config.json
"$run" -q train.ini model.path=base/model model.init=pretrained model.train=embeddings run.output=emb run.max_steps=2 || exit 1
check "frozen weights come from the base" sh -c "'$convert' emb/checkpoints/step-2 emb2 && cmp emb2/model.safetensors emb/model/model.safetensors"
check "another base" exits 3 "missing or of another size" "$convert" --base "$golden/llama/gqa_tied" base/checkpoints/step-4 x

# More tokens.
mkdir more && cp base/model/tokenizer.model more/ && echo '{"<new>": 297, "number": 298, " and": 299}' > more/added_tokens.json
check "more tokens" exits 0 "300 tokens, 3 of them new (rows of their pieces)" "$convert" --extend more --new-rows pieces base/model longer
check "the old ones' logits are compared" grep -q "logits of the 297 old tokens before and after" out.log
check "config.json says so" grep -q '"vocab_size": 300' longer/config.json
check "the tokenizer comes along too" cmp more/added_tokens.json longer/added_tokens.json
check "the same answer but for them" [ "$(text base/model)" = "$(text longer)" ]
check "a new token is one" [ "$("$COATI_BIN/coati-tokenize" --model longer --no-bos <<<"number" | wc -w)" -le 2 ]
check "they train alone" "$run" -q train.ini model.path=longer model.init=pretrained model.train=embeddings run.output=learnt run.max_steps=2
check "nothing else does" sh -c "'$run' train.ini --plan model.path=longer model.init=pretrained model.train=embeddings > plan && grep -q ' 38400 of them trained' plan"
check "a multiple" exits 0 "320 tokens, 23 of them new (the mean of the old rows)" "$convert" --extend more --pad-to 64 base/model padded
check "rows that padded are new later" exits 0 "301 tokens" sh -c "cp -r more four && echo '{\"<new>\": 297, \"number\": 298, \" and\": 299, \"x y\": 300}' > four/added_tokens.json && '$convert' --extend four longer longest"
check "in bf16" "$convert" --extend 400 --dtype bf16 base/model longer16
check "nothing new" exits 2 "nothing is new" "$convert" --extend base/model base/model x
check "fewer" exits 2 "has 297 tokens already" "$convert" --extend 200 base/model x
check "another tokenizer" exits 3 "not the model's tokenizer with more tokens: id" sh -c "cp -r more strange && cp '$COATI_SRC/tests/tokenizers/unigram/tokenizer.model' strange/ && echo '{\"zz\": 5000}' > strange/added_tokens.json && '$convert' --extend strange base/model x"
check "pieces of a number" exits 2 "says nothing of the tokens' texts" "$convert" --extend 400 --new-rows pieces base/model x
check "neither folder nor number" exits 2 "neither a tokenizer's directory nor a number" "$convert" --extend nowhere base/model x
check "--pad-to alone" exits 2 "go with --extend" "$convert" --pad-to 8 base/model x
check "of a checkpoint" exits 2 "a model directory alone" "$convert" --extend 400 base/checkpoints/step-4 x

mkdir bin && cp base/model/config.json base/model/tokenizer.model bin && cp "$golden/torch/pytorch_model.bin" bin
check "coati-generate names the way out" exits 3 "coati-convert bin NEW" text bin
check "pytorch_model.bin" exits 0 "12 tensors" "$convert" bin safe
check "a mask is left out, by name" grep -q '"mask" is left out' out.log
cp "$COATI_SRC/tests/fuzz/torch/bad_evil" bin/pytorch_model.bin
check "a pickle that would run something" exits 3 'asks for "posix system"' "$convert" bin evil

check "no arguments" exits 2 "INPUT and OUTPUT" "$convert"
check "one argument" exits 2 "INPUT and OUTPUT" "$convert" base/model
check "an unknown option" exits 2 "--help" "$convert" --nonsense a b
check "a wrong type" exits 2 "fp32, bf16, fp16 or keep" "$convert" --dtype int3 base/model x
check "a wrong size" exits 2 "expected a size" "$convert" --max-shard-size many base/model x
check "a wrong bound" exits 2 "expected a number" "$convert" --bound wide base/model x
check "two adapters" exits 2 "one at a time" "$convert" --adapter a --adapter b base/model x
check "an adapter on a checkpoint" exits 2 "is a checkpoint" "$convert" --adapter tuned/adapter base/checkpoints/step-4 x
check "no such input" exits 3 "nowhere" "$convert" nowhere x
check "an adapter of another model" exits 3 "is for another model" "$convert" --adapter "$golden/lora/two_names" base/model x
sed 's/"model_type": "llama"/"model_type": "mamba"/' base/model/config.json > one/config.json
check "shards need no plugin" "$convert" --dtype bf16 one x2
check "merging does" exits 3 'model_type "mamba" is served by no' "$convert" --adapter tuned/adapter one x
mkdir other && echo keep > other/file
check "a folder of something else" exits 2 "it is left alone" "$convert" base/model other
check "nothing was written" sh -c '[ ! -e x ] && [ "$(ls other)" = file ]'
finish
