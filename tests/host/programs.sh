#!/usr/bin/env bash
# programs.sh DIR: broken plugins as a user meets them. DIR holds a folder a case, built by CMakeLists.txt.
. "$COATI_SRC/tests/e2e/lib.sh"
cd "$work" || exit 1
bad=$1

list() { COATI_PLUGIN_PATH=$1:$COATI_PLUGIN_PATH "$run" --list >out.txt 2>err.txt; }
check "--list with a broken plugin present" list "$bad/major"
check "still lists the others" grep -qE '^strategy +naive ' out.txt
check "but not the broken one" sh -c '! grep -q good out.txt'
check "says what is wrong, once" [ "$(grep -c 'coati-loss-good.so: built for plugin ABI 2' err.txt)" -eq 1 ]
check "--list with a good one" list "$bad/none"
check "lists it" grep -qE '^loss +good +a loss of the tests' out.txt
check "and says nothing else" [ ! -s err.txt ]

for case in "$bad"/*/coati-loss-good.so; do
  case=$(basename "$(dirname "$case")")
  case $case in none | long_table | index) continue ;; esac
  check "named in train.ini: $case" exits 2 "$bad/$case/coati-loss-good.so: " "$run" train.ini loss.name=good plugins.path="$bad/$case"
  check "one line: $case" [ "$(wc -l <out.log)" -eq 1 ]
done
check "nothing was started" [ ! -e out ]
check "not there: what is installed" exits 2 'no loss plugin "god" found; installed: ' "$run" train.ini loss.name=god plugins.path="$bad/none"
check "not there: the paths tried" grep -qF "tried: $bad/none/coati-loss-god.so, " out.log
check "its option out of range" exits 2 "[loss] weight = 11: out of range, 0 to 10 is allowed" "$run" --print-config train.ini loss.name=good plugins.path="$bad/none" loss.weight=11
check "its option misspelt" exits 2 'did you mean "weight"?' "$run" --print-config train.ini loss.name=good plugins.path="$bad/none" loss.wieght=1
check "its option not in the list" exits 2 'did you mean "fast"?' "$run" --print-config train.ini loss.name=good plugins.path="$bad/none" loss.mode=fats
check "its options in force" exits 0 "weight = 1.5" "$run" --print-config train.ini loss.name=good plugins.path="$bad/none"
check "a longer table works" exits 0 "weight = 1.5" "$run" --print-config train.ini loss.name=good plugins.path="$bad/long_table"
finish
