#!/usr/bin/env bash
# check_layout.sh SOURCE_DIR: who may include whom, banned functions, folders without a README, top-level entries,
# overlong files. Prints one line per offence; exit 1 if there was any.
set -uo pipefail
cd "$1" || exit 2
bad=0
offence() { echo "$*"; bad=$((bad + 1)); }

sources() { find "$@" -type f \( -name '*.[ch]' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' -o -name '*.def' \) 2>/dev/null | LC_ALL=C sort; }
# file:line:path-in-quotes of every include "…" and file:line:path of <coati…> and <core…>
quoted() { grep -nHoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]+"' "$@" /dev/null | sed -E 's/:[[:space:]]*#[[:space:]]*include[[:space:]]*"/:/; s/"$//'; }

# 1. What stands at the top level.
allowed=' CMakeLists.txt CMakePresets.json LICENSE README.md ROADMAP.md CHANGELOG.md core plugins backends strategies models datasets tools tests build shared '
for e in *; do
  [[ $allowed == *" $e "* ]] || offence "$e: not one of the top-level entries ($allowed)"
done

# 2. Plugins see <coati/…> and their own folder; core sees core/ and <coati/…>.
plugin_dirs=(backends strategies models datasets plugins/losses plugins/optimizers plugins/tokenizers plugins/template)
while IFS=: read -r file line path; do
  [ -n "$file" ] || continue
  own=$(dirname "$file" | cut -d/ -f1-2) # backends/cpu, plugins/losses; models
  case $(realpath -m --relative-to=. "$(dirname "$file")/$path") in
    "$own"/*) ;;
    datasets/source/*) [[ $own == datasets/* ]] || offence "$file:$line: \"$path\" is for dataset plugins" ;;
    *) offence "$file:$line: \"$path\" is not of $own: plugins see <coati/…> and their own folder" ;;
  esac
done < <(quoted $(sources "${plugin_dirs[@]}"))
while IFS= read -r hit; do offence "$hit: plugins reach the host through <coati/…> alone"; done \
  < <(grep -nHE '#[[:space:]]*include[[:space:]]*[<"](core|tools|tests)/' $(sources "${plugin_dirs[@]}" plugins/include) /dev/null)
while IFS=: read -r file line path; do
  [ -n "$file" ] || continue
  case $path in
    core/*) [ -f "$path" ] || offence "$file:$line: \"$path\" does not exist" ;;
    *) offence "$file:$line: \"$path\": core includes \"core/…\" by its full path, and <coati/…>" ;;
  esac
done < <(quoted $(sources core))
while IFS=: read -r file line path; do
  [ -n "$file" ] || continue
  [ -f "plugins/include/coati/$path" ] || offence "$file:$line: \"$path\": public headers include each other only"
done < <(quoted $(sources plugins/include))

# 3. Banned functions: unbounded strings, silent parsing, ending the process, printing, the host's allocator evaded.
# Comments and strings are cut before looking.
strip() { sed -E 's://.*$::; s:/\*[^*]*\*/::g; s:"([^"\\]|\\.)*"::g; s:^[[:space:]]*\*.*$::; s:^[[:space:]]*/\*.*$::' "$1"; }
for f in $(sources core backends strategies models datasets plugins tools); do
  words='strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|gets'
  [[ $f == tools/* ]] || words+='|exit|_exit|abort|printf|puts|putchar'
  case $f in core/* | tools/* | plugins/include/*) ;; *) words+='|malloc|calloc|realloc' ;; esac
  hits=$(strip "$f" | grep -nE "(^|[^A-Za-z0-9_>.])($words)[[:space:]]*\(" | head -3)
  [ -z "$hits" ] || while IFS= read -r h; do offence "$f:$h: banned function"; done <<<"$hits"
done

# 4. Every folder of sources says what it is for. A folder of test data needs no page of its own.
while IFS= read -r dir; do
  [ -f "$dir/README.md" ] || offence "$dir: no README.md"
done < <(sources core plugins backends strategies models datasets tools tests | xargs -r -n1 dirname | sort -u | grep -v -e '^plugins/include' -e '/kernels$')
for dir in core plugins backends strategies models datasets tools tests; do
  [ ! -d "$dir" ] || [ -f "$dir/README.md" ] || offence "$dir: no README.md"
done

# 5. Length.
for f in $(sources core plugins backends strategies models datasets tools tests); do
  n=$(wc -l <"$f")
  [ "$n" -le 800 ] || head -5 "$f" | grep -qi 'long because' || offence "$f: $n lines; over 800 needs \"long because …\" in its first lines"
done

[ "$bad" -eq 0 ] && echo "layout: nothing to report" || { echo "layout: $bad offences"; exit 1; }
