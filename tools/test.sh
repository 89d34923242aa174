#!/usr/bin/env bash
# Sets up a bare Debian 12, builds, and runs every test: the release build first, then the same tests under the address
# and undefined-behaviour sanitizers (all plugins linked in). Ends in ctest's summary.
#   COATI_TEST_PRESETS="release"   to run fewer
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/deps.sh
jobs=$(nproc)
for preset in ${COATI_TEST_PRESETS:-release asan}; do
  cmake --preset "$preset"
  cmake --build --preset "$preset" -j "$jobs"
  ctest --preset "$preset" -j "$jobs"
done
