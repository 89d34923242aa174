#!/usr/bin/env bash
# op_without_derivative.sh COMPILER SOURCE_DIR: an op that ops.def marks as differentiable and core/graph/vjp.c has no rule for
# must not compile; nor one whose last column is no word that is known. One that states it has none does.
set -uo pipefail
cc=$1 src=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

compiles() { # compiles WORD: vjp.c, with a new op whose last column is WORD
  rm -rf "$work/include"
  cp -r "$src/plugins/include" "$work/include"
  echo "OP(FROBNICATE, \"frobnicate\", 1, 1, 1, $1)" >> "$work/include/coati/ops.def"
  "$cc" -std=c11 -D_GNU_SOURCE -fsyntax-only -I "$work/include" -I "$src" "$src/core/graph/vjp.c" 2>"$work/log"
}
check() { if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "failed: $*" >&2; cat "$work/log" >&2; fi; }
check compiles SECOND
check compiles STOPS
compiles DIFF
check [ $? -ne 0 ]
check grep -q "rule_FROBNICATE" "$work/log"
compiles PERHAPS
check [ $? -ne 0 ]
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
