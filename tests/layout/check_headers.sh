#!/usr/bin/env bash
# check_headers.sh INCLUDE_DIR CC CXX: every public header compiles alone, as C99, C11, C17 and C++17, without a warning.
set -uo pipefail
include=$1 cc=$2 cxx=$3 bad=0 n=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT
for h in "$include"/coati/*.h; do
  name=coati/$(basename "$h")
  for std in c99 c11 c17 c++17; do
    compiler=$cc lang=c
    [ "$std" = c++17 ] && compiler=$cxx lang=c++
    printf '#include <%s>\n#include <%s>\n' "$name" "$name" |
      "$compiler" -x $lang -std=$std -fsyntax-only -Wall -Wextra -Wpedantic -Werror -I"$include" - >"$out" 2>&1 ||
      { echo "$name as $std:"; head -5 "$out"; bad=$((bad + 1)); }
    n=$((n + 1))
  done
done
echo "$n compiled, $bad failed"
[ "$bad" -eq 0 ] && [ "$n" -gt 0 ]
