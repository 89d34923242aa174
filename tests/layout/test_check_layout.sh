#!/usr/bin/env bash
# Plants one offence at a time in a scratch tree; check_layout.sh must name each, and pass the clean tree.
set -uo pipefail
check=$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failed=0 passed=0

fresh() {
  rm -rf "${tree:?}"/*
  mkdir -p "$tree"/{core/base,plugins/include/coati,plugins/losses,backends,strategies,models,datasets,tools,tests}
  for d in core core/base plugins plugins/losses backends strategies models datasets tools tests; do echo "# $d" >"$tree/$d/README.md"; done
  echo '#include "core/base/a.h"' >"$tree/core/base/a.c"
  echo 'int a(void);' >"$tree/core/base/a.h"
  echo 'int coati;' >"$tree/plugins/include/coati/abi.h"
  echo '#include <coati/abi.h>' >"$tree/models/m.c"
}
expect() { # what-the-report-says description
  local out
  out=$("$check" "$tree" 2>&1)
  if [ $? -ne 0 ] && grep -qF -- "$1" <<<"$out"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "not caught: $2; report: $out"; fi
}

fresh
if "$check" "$tree" >/dev/null; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "the clean tree fails:"; "$check" "$tree"; fi
fresh; echo '#include "core/base/a.h"' >>"$tree/models/m.c"; expect 'models/m.c:2' 'a model that includes core'
fresh; echo '#include <core/base/a.h>' >>"$tree/backends/b.c"; expect 'backends' 'a backend that includes core in angle brackets'
fresh; echo '#include "../models/m.h"' >>"$tree/strategies/s.c"; expect 'strategies/s.c:1' 'a strategy that includes a model'
fresh; echo '#include "a.h"' >>"$tree/core/base/a.c"; expect 'core/base/a.c:2' 'core without the full path'
fresh; echo '#include "core/base/a.h"' >>"$tree/plugins/include/coati/abi.h"; expect 'abi.h:2' 'a public header that includes core'
fresh; echo 'void f(char *p) { strcpy(p, p); }' >>"$tree/core/base/a.c"; expect 'banned' 'strcpy'
fresh; echo 'void f(void) { p = malloc(3); }' >>"$tree/models/m.c"; expect 'banned' 'malloc in a plugin'
fresh; echo 'void f(void) { exit(1); }' >>"$tree/core/base/a.c"; expect 'banned' 'exit in core'
fresh; echo 'void f(void) { printf("x"); }' >>"$tree/models/m.c"; expect 'banned' 'printf in a plugin'
fresh; mkdir "$tree/core/new"; echo 'int x;' >"$tree/core/new/x.c"; expect 'core/new: no README' 'a folder without a README'
fresh; mkdir "$tree/misc"; expect 'misc: not one of' 'a new top-level folder'
fresh; yes 'int x;' | head -801 >"$tree/core/base/long.c"; expect '801 lines' 'a file of 801 lines'
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
