#!/usr/bin/env bash
# coati-generate as a user and a script see it: greedy, sampled, streamed, JSON, several prompts, chat, wrong arguments.
. "$(dirname "$0")/lib.sh"
cd "$work" || exit 1
gen=$COATI_BIN/coati-generate
# A few steps make the model prefer something without ending every text at once.
"$run" -q train.ini run.output=m run.max_steps=12 checkpoint.every=never >/dev/null || exit 1
model=m/model
g() { "$gen" --model $model "$@"; }
is() { [ -n "$2" ] && [ "$1" = "$2" ] || { echo "got \"$1\""; echo "want \"$2\""; return 1; }; }
differ() { [ "$1" != "$2" ] || { echo "both are \"$1\""; return 1; }; }
field() { grep -o "\"$1\":\(\[[^]]*\]\|\"[^\"]*\"\)" | head -n 1 | cut -d: -f2-; }
ids() { g --json "$@" | field ids; }
count() { tr ',' '\n' | grep -c '[0-9]'; }
prompt="What do the owl and the pig say?"

# --json: one object a prompt and line, the fields of interface and documentation, in order.
g --json --prompt "$prompt" --max-new-tokens 6 > one.json
check "--json: one line" [ "$(wc -l < one.json)" -eq 1 ]
check "--json: the fields" grep -qE '^\{"prompt":"What do the owl and the pig say\?","text":"[^"]*","ids":\[[0-9]+(,[0-9]+)*\],"logprobs":\[-?[0-9.e+-]+(,-?[0-9.e+-]+)*\],"finish":"(eos|length)"\}$' one.json
check "--json: a logprob for each id" is "$(field ids < one.json | count)" "$(field logprobs < one.json | count)"
check "--json: text is what the ids say" is "$(field text < one.json)" "\"$(g --prompt "$prompt" --max-new-tokens 6)\""
g --json --prompt $'"a"\n\tb\\' --max-new-tokens 1 > quoted.json
check "--json: quotes and line breaks are escaped" grep -qF '{"prompt":"\"a\"\u000a\u0009b\\","text":' quoted.json

check "greedy repeats itself" is "$(ids --prompt "$prompt")" "$(ids --prompt "$prompt")"
check "greedy whatever the seed" is "$(ids --prompt "$prompt" --seed 1)" "$(ids --prompt "$prompt" --seed 2)"
hot=(--prompt "$prompt" --temperature 2 --max-new-tokens 24)
check "a seed repeats itself" is "$(ids "${hot[@]}" --seed 7)" "$(ids "${hot[@]}" --seed 7)"
check "the default seed is 42" is "$(ids "${hot[@]}")" "$(ids "${hot[@]}" --seed 42)"
check "another seed, another text" differ "$(ids "${hot[@]}" --seed 7)" "$(ids "${hot[@]}" --seed 8)"
check "hot is not greedy" differ "$(ids "${hot[@]}" --seed 7)" "$(ids --prompt "$prompt" --max-new-tokens 24)"
check "--top-k 1 is greedy" is "$(ids "${hot[@]}" --top-k 1)" "$(ids --prompt "$prompt" --max-new-tokens 24)"
check "--top-p 0 is greedy" is "$(ids "${hot[@]}" --top-p 0)" "$(ids --prompt "$prompt" --max-new-tokens 24)"
check "--top-k 0 and --top-p 1 cut nothing" is "$(ids "${hot[@]}" --top-k 0 --top-p 1)" "$(ids "${hot[@]}")"
check "--top-k 3 cuts" differ "$(ids "${hot[@]}" --top-k 3)" "$(ids "${hot[@]}")"
check "--top-p 0.3 cuts" differ "$(ids "${hot[@]}" --top-p 0.3)" "$(ids "${hot[@]}")"
check "a low temperature is nearly greedy" is "$(ids --prompt "$prompt" --temperature 0.0001 --max-new-tokens 24)" "$(ids --prompt "$prompt" --max-new-tokens 24)"
# The likeliest token of each place: no sampled token may have a higher log-probability at the first place.
first() { g --json "$@" --max-new-tokens 1 | field logprobs | tr -d '[]'; }
check "greedy takes the likeliest" awk -v a="$(first --prompt "$prompt")" -v b="$(first --prompt "$prompt" --temperature 3 --seed 5)" 'BEGIN { exit !(a >= b && a <= 0) }'

# Where it ends.
check "--max-new-tokens 5: five ids, length" sh -c "'$gen' --model $model --json --prompt '' --max-new-tokens 5 --temperature 5 --seed 3 | grep -qE '\"ids\":\[([0-9]+,){4}[0-9]+\].*\"finish\":\"length\"'"
check "--max-new-tokens 0: nothing" sh -c "'$gen' --model $model --json --prompt x --max-new-tokens 0 | grep -qF '\"text\":\"\",\"ids\":[],\"logprobs\":[],\"finish\":\"length\"'"
ended=""
for s in $(seq 40); do
  g --json --prompt "$prompt" --temperature 1.5 --seed "$s" --max-new-tokens 60 > try.json
  if grep -q '"finish":"eos"' try.json; then ended=$s; break; fi
done
check "EOS ends a text" [ -n "$ended" ]
eos=$(grep -o '"eos_token_id": *[0-9]*' $model/config.json | grep -o '[0-9]*$')
check "and is not part of it" sh -c "! grep -qE '\"ids\":\[([0-9]+,)*$eos[],]' try.json"
check "fewer than asked for" [ "$(field ids < try.json | count)" -lt 60 ]
check "by default what fits" g --prompt "$prompt"

# BOS alone, several prompts, batches.
check '--prompt "" is BOS alone' sh -c "'$gen' --model $model --json --prompt '' --max-new-tokens 3 | grep -qE '^\{\"prompt\":\"\",\"text\":\"[^\"]*\",\"ids\":\[[0-9]+'"
printf '%s\n' "$prompt" "" "What do the wolf, the pig and the owl say? What do the wolf, the pig and the owl say?" "a" > prompts.txt
g --json --prompts prompts.txt --max-new-tokens 10 > four.jsonl
check "--prompts: an object a line, in order" is "$(cut -d'"' -f4 four.jsonl)" "$(cat prompts.txt)"
n=0
while IFS= read -r line; do
  n=$((n + 1))
  check "--prompts: prompt $n as by itself" is "$(sed -n ${n}p four.jsonl | field ids)" "$(ids --prompt "$line" --max-new-tokens 10)"
done < prompts.txt
for b in 1 2 3; do
  check "--batch $b: the same" is "$(g --json --prompts prompts.txt --max-new-tokens 10 --batch $b | cut -d, -f1-2)" "$(cut -d, -f1-2 four.jsonl)"
  check "--batch $b: the same when sampled" is "$(g --json --prompts prompts.txt --max-new-tokens 10 --batch $b --temperature 1 | grep -o '"ids":[^]]*')" \
    "$(g --json --prompts prompts.txt --max-new-tokens 10 --temperature 1 | grep -o '"ids":[^]]*')"
done
check "--prompts: Windows line ends" is "$(sed 's/$/\r/' prompts.txt > crlf.txt; g --json --prompts crlf.txt --max-new-tokens 10)" "$(cat four.jsonl)"
check "--prompts: text, a line a prompt" is "$(g --prompts prompts.txt --max-new-tokens 10 | wc -l)" 4
: > none.txt
check "--prompts: an empty file, nothing to say" [ -z "$(g --prompts none.txt || echo failed)" ]

# Cached, token by token, is what one pass over the whole text says: each prefix's next token.
whole=$(ids --prompt "$prompt" --max-new-tokens 8 | tr -d '[]')
text=$(g --prompt "$prompt" --max-new-tokens 4)
check "going on from its own words says the same" is "$(ids --prompt "$prompt$text" --max-new-tokens 1 | tr -d '[]')" "$(echo "$whole" | cut -d, -f5)"

# Streaming: whole pieces come before the text has ended.
check "streamed text is the text" is "$(g --prompt "$prompt" --max-new-tokens 30)" "$(g --json --prompt "$prompt" --max-new-tokens 30 | field text | tr -d '"')"
# One read gets what one write brought: the first words, not all of them (unless the reader slept through it).
for _ in 1 2 3 4 5; do
  got=$(g --prompt "$prompt" --max-new-tokens 60 --temperature 3 2>/dev/null | dd bs=65536 count=1 2>/dev/null | wc -c)
  [ "$got" -lt 40 ] && break
done
check "the first words come before the last" [ "$got" -gt 0 -a "$got" -lt 40 ]

# Types: bf16 and fp16 say what fp32 says, within their rounding; auto is fp32 on the CPU.
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; exit !(a != "" && b != "" && d < 0.05 && d > -0.05) }'; }
for t in bf16 fp16; do
  check "--dtype $t: the same token" is "$(ids --prompt "$prompt" --max-new-tokens 1 --dtype $t)" "$(ids --prompt "$prompt" --max-new-tokens 1)"
  check "--dtype $t: nearly the same probability" near "$(first --prompt "$prompt" --dtype $t)" "$(first --prompt "$prompt")"
  check "--dtype $t: not the same bits" differ "$(first --prompt "$prompt" --dtype $t)" "$(first --prompt "$prompt")"
done
check "--dtype auto: fp32" is "$(first --prompt "$prompt" --dtype auto)" "$(first --prompt "$prompt" --dtype fp32)"
check "--context holds it" g --prompt "$prompt" --context 60 --max-new-tokens 4

# Chat and template.
check "--chat answers each line" is "$(printf '%s\n' "$prompt" "a" | g --chat --max-new-tokens 10)" "$(g --prompt "$prompt" --max-new-tokens 10; g --prompt a --max-new-tokens 10)"
check "--chat: the last line without an end" is "$(printf '%s' "$prompt" | g --chat --max-new-tokens 10)" "$(g --prompt "$prompt" --max-new-tokens 10)"
check "--chat --json" is "$(echo a | g --chat --json --max-new-tokens 3)" "$(g --json --prompt a --max-new-tokens 3)"
printf 'Q: {instruction} A:{output}' > qa.txt
check "--template FILE" is "$(ids --prompt "$prompt" --template qa.txt --max-new-tokens 8)" "$(ids --prompt "Q: $prompt A:" --max-new-tokens 8)"
check "--chat --template FILE" is "$(echo "$prompt" | g --chat --template qa.txt --max-new-tokens 8)" "$(g --prompt "Q: $prompt A:" --max-new-tokens 8)"
check "--template none" is "$(ids --prompt a --template none)" "$(ids --prompt a)"

# A conversation: what was said stands before what is asked, and the cache of earlier turns changes nothing.
printf '[begin]\n{before}\n[system]\n{content}.\n[user]\nQ: {content}\n[assistant]\n A:{learn}{content}{end}\n' > talk.txt
talk=(--template talk.txt --max-new-tokens 6)
printf '%s\n' "What is it?" "And then?" "Why?" > lines
g --chat "${talk[@]}" < lines > talked
check "--chat: an answer a line" [ "$(wc -l < talked)" -eq 3 ]
one=$(sed -n 1p talked) two=$(sed -n 2p talked)
check "the first turn" is "$one" "$(g --prompt "Q: What is it? A:" --max-new-tokens 6)"
check "the second knows the first" is "$two" "$(g --prompt "Q: What is it? A:${one}Q: And then? A:" --max-new-tokens 6)"
check "the third both" is "$(sed -n 3p talked)" "$(g --prompt "Q: What is it? A:${one}Q: And then? A:${two}Q: Why? A:" --max-new-tokens 6)"
g -v --chat --json "${talk[@]}" < lines > talked.json 2> talked.log
check "only new tokens are computed" sh -c "sed -n 's/.*: \([0-9]*\) of the \([0-9]*\) tokens.*/\1 \2/p' talked.log | awk '{ n++; if (n == 1 && \$1 != 0 || n > 1 && \$1 < last) bad = 1; last = \$2 } END { exit bad || n != 3 }'"
fresh=$(g --json --prompt "Q: What is it? A:${one}Q: And then? A:" --max-new-tokens 6)
check "the same ids as a fresh run's" is "$(sed -n 2p talked.json | field ids)" "$(field ids <<<"$fresh")"
near() { awk -v a="$1" -v b="$2" 'BEGIN { n = split(a, x, /[^-0-9.e]+/); m = split(b, y, /[^-0-9.e]+/); bad = n != m || n < 3; for (i = 1; i <= n; i++) if (x[i] - y[i] > 1e-4 || y[i] - x[i] > 1e-4) bad = 1; exit bad }'; }
check "the same logprobs" near "$(sed -n 2p talked.json | field logprobs)" "$(field logprobs <<<"$fresh")"
check "/new begins another" is "$(printf '%s\n' "What is it?" /new "And then?" | g --chat "${talk[@]}" | tail -n 1)" "$(g --prompt "Q: And then? A:" --max-new-tokens 6)"
check "--system" is "$(g --prompt "What is it?" --system "Be brief" "${talk[@]}")" "$(g --prompt "Be brief.Q: What is it? A:" --max-new-tokens 6)"
check "--system --chat" is "$(head -n 1 lines | g --chat --system "Be brief" "${talk[@]}")" "$(g --prompt "Be brief.Q: What is it? A:" --max-new-tokens 6)"
check "a full context is said" exits 2 "the context is full: the conversation has" sh -c "'$gen' --model $model --chat --template talk.txt --max-new-tokens 6 --context 30 < lines"
check "--system without a template" exits 2 "--system needs a --template" "$gen" --model $model --prompt x --system y
check "--system without a place" exits 2 "no place for a system message" "$gen" --model $model --prompt x --system y --template hh
# A text at which the template ends: cut off there, whatever tokens it came in.
said=$(g --prompt "Q: What is it? A:" --max-new-tokens 12)
part=$(cut -c 3-5 <<<"$said")
{ printf '[options]\nstop = '; sed 's/ /\\s/g' <<<"$part"; cat talk.txt; } > stop.txt
check "a stop text ends the answer" is "$(g --prompt "What is it?" --template stop.txt --max-new-tokens 12)" "${said%%"$part"*}"
check "--json says so" grep -q '"finish":"stop"' <(g --json --prompt "What is it?" --template stop.txt --max-new-tokens 12)

# The report's answers are these.
report=$(sed -nE 's|^<tr><td>(What[^<]*)</td><td>[^<]*</td><td>([^<]*)</td></tr>$|\1\t\2|p' m/report.html | head -n 1)
check "report.html holds an answer" [ -n "$report" ]
check "the same answer" is "$(cut -f2 <<<"$report")" "$(g --prompt "$(cut -f1 <<<"$report")" --max-new-tokens 64)"

# Wrong arguments and files.
bad() { check "$1" exits "$2" "$3" "$gen" "${@:4}"; }
bad "no model"            2 "--model DIR is missing" --prompt x
bad "no prompt"           2 "exactly one of" --model $model
bad "two prompts"         2 "exactly one of" --model $model --prompt x --chat
bad "no such type"        2 "expected auto, fp32, bf16 or fp16" --model $model --prompt x --dtype fp9
bad "a short context"     2 "2" --model $model --prompt "$prompt" --context 2
cp -r $model wide && sed -i -E 's/("max_position_embeddings": *)[0-9]+/\11073741824/' wide/config.json
bad "more than fits"      4 "Take fewer sequences at once (--batch)" --model wide --prompts prompts.txt --batch 4096 --context 16777216
bad "too long a context"  4 "Take a shorter context (--context)" --model wide --prompt x --context 1073741824
bad "an extra argument"   2 "quote" --model $model --prompt x y
bad "unknown option"      2 "--help" --nonsense
bad "no value"            2 "--help" --model
bad "top-p above 1"       2 "expected a number from 0 to 1" --model $model --prompt x --top-p 1.5
bad "top-p of nonsense"   2 "--top-p" --model $model --prompt x --top-p nan
bad "temperature below 0" 2 "--temperature" --model $model --prompt x --temperature -1
bad "top-k not whole"     2 "whole number" --model $model --prompt x --top-k 1.5
bad "seed of nonsense"    2 "whole number" --model $model --prompt x --seed 12abc
bad "seed too large"      2 "whole number" --model $model --prompt x --seed 99999999999999999999
bad "new tokens below 0"  2 "--max-new-tokens" --model $model --prompt x --max-new-tokens -3
bad "batch 0"             2 "--batch" --model $model --prompt x --batch 0
bad "beyond the model"    2 "lower --max-new-tokens" --model $model --prompt x --max-new-tokens 1000
bad "no such backend"     2 "backend" --model $model --prompt x --backend tpu
bad "threads of nonsense" 2 "threads" --model $model --prompt x --threads many
bad "no such template"    2 "nowhere.txt" --model $model --prompt x --template nowhere.txt
bad "no such model"       3 "nowhere" --model nowhere --prompt x
bad "no prompts file"     3 "nowhere.txt" --model $model --prompts nowhere.txt
bad "no such adapter"     3 "nowhere" --model $model --prompt x --adapter nowhere
cp -r $model cut; head -c 3000 $model/model.safetensors > cut/model.safetensors
bad "truncated weights"   3 "model.safetensors" --model cut --prompt x
check "a full disk is said" exits 4 "stdout" sh -c "'$gen' --model $model --prompt x > /dev/full"
check "--help" sh -c "'$gen' --help | grep -q -- --max-new-tokens"
check "--version" sh -c "'$gen' --version | grep -qE '^coati-generate [0-9]'"
finish
