#!/usr/bin/env bash
# check_symbols.sh PLUGIN_DIR NM: each plugin exports coati_plugin_v1 and nothing else.
set -uo pipefail
dir=$1 nm=$2 bad=0 n=0
for so in "$dir"/coati-*.so; do
  [ -e "$so" ] || continue
  n=$((n + 1))
  names=$("$nm" -D --defined-only "$so" | awk '$2 != "w" && $2 != "v" && $2 != "V" && $2 != "W" && $2 != "u" { print $3 }' | sort | tr '\n' ' ')
  [ "$names" = "coati_plugin_v1 " ] || { echo "$(basename "$so") exports: $names"; bad=$((bad + 1)); }
done
echo "$n plugins, $bad failed"
[ "$bad" -eq 0 ] && [ "$n" -gt 0 ]
