#!/usr/bin/env bash
# extract.sh SOURCE_DIR OUT: the blocks of plugins/GUIDE.md as the files their marks name, and the op's lines put into copies of
# the files they belong to, under OUT/square. Files that stay the same are not touched, so that nothing is built again in vain.
set -euo pipefail
src=$1 out=$2
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
awk -v dir="$new" '
  /^<!-- [a-z_]+\.[a-z]+ -->$/ { file = $2; next }
  file != "" && /^```/ { if (!open) { open = 1 } else { close(dir "/" file); open = 0; file = "" } next }
  open { print > (dir "/" file) }
' "$src/plugins/GUIDE.md"

# The op: "file | text" lines begin a place, indented ones go there.
for dir in core/graph backends/ref backends/cpu plugins/include tests/ops; do
  mkdir -p "$new/square/$(dirname "$dir")"
  cp -r "$src/$dir" "$new/square/$dir"
done
find "$new/square" -type f ! -name '*.[ch]' ! -name '*.def' -delete
if [ -f "$new/square.patch" ]; then
  awk -v dir="$new/square" '
    function put(   line, done, text) {
      if (place == "") return
      while ((getline line < (dir "/" place)) > 0) {
        text = text line "\n"
        if (!done && index(line, after)) { text = text added; done = 1 }
      }
      close(dir "/" place)
      if (!done) { print "GUIDE.md: no line with \"" after "\" in " place > "/dev/stderr"; bad = 1 }
      printf "%s", text > (dir "/" place)
      close(dir "/" place)
    }
    /^[^ ]/ { put(); i = index($0, " | "); place = substr($0, 1, i - 1); after = substr($0, i + 3); added = ""; next }
    { added = added substr($0, 3) "\n" }
    END { put(); exit bad }
  ' "$new/square.patch"
fi
cd "$new"
find . -type f | while IFS= read -r f; do
  cmp -s "$f" "$out/$f" || { mkdir -p "$out/$(dirname "$f")"; cp "$f" "$out/$f"; }
done
