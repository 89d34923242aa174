#!/usr/bin/env bash
# template.sh BUILD_DIR CMAKE: the template against an installed tree, in a scratch folder that knows nothing of the sources.
. "$COATI_SRC/tests/e2e/lib.sh"
build=$1 cmake=$2
cd "$work" || exit 1
unset COATI_PLUGIN_PATH
check "installs" "$cmake" --install "$build" --prefix "$work/first"
mv first installed # relocatable: nothing may remember where it was put
check "the template comes with it" cp -r installed/share/coati/template mine
check "and the guide" [ -s installed/share/coati/GUIDE.md ]
check "at most 200 lines" [ "$(cat mine/my_model.c mine/CMakeLists.txt mine/test.ini | wc -l)" -le 200 ]
cd mine || exit 1
check "configures" "$cmake" -B build -DCMAKE_PREFIX_PATH="$work/installed" -DCMAKE_C_FLAGS="-Wall -Wextra -Wpedantic -Werror"
check "builds" "$cmake" --build build
check "its tests pass" ctest --test-dir build --output-on-failure
check "both of them" sh -c "ctest --test-dir build -N | grep -q 'Total Tests: 2'"
check "the loss fell" awk -F'"loss":' '/"loss"/ { split($2, a, ","); if (!n++) first = a[1]; last = a[1] } END { exit !(n == 20 && last < first / 2) }' build/out/metrics.jsonl
check "installs itself" "$cmake" --install build --prefix "$work/installed"
cd "$work" || exit 1
check "is found once installed" sh -c "installed/bin/coati-run --list | grep -qE '^model +my_model +a small decoder to start from'"
rm installed/lib/coati/1/coati-model-my_model.so

export PKG_CONFIG_PATH=$(dirname "$(find installed -name coati.pc)")
mkdir plain
check "compiles by pkg-config" sh -c "$CC -std=c99 -Wall -Wextra -Wpedantic -Werror -shared -fPIC -fvisibility=hidden -O2 \$(pkg-config --cflags coati) mine/my_model.c -o plain/coati-model-my_model.so"
check "pkg-config's plugindir" [ -e "$(pkg-config --variable=plugindir coati)/coati-model-llama.so" ]
check "trains" sh -c "cd mine && COATI_PLUGIN_PATH= '$work/installed/bin/coati-run' -q test.ini plugins.path='$work/plain' run.output='$work/again'"
check "the same bits" cmp mine/build/out/model/model.safetensors again/model/model.safetensors
check "its option has a range" exits 2 'out of range, 0 to 0.9 is allowed' sh -c "cd mine && '$work/installed/bin/coati-run' test.ini plugins.path='$work/plain' model.mlp_dropout=1"
check "a generated answer" sh -c "COATI_PLUGIN_PATH='$work/plain' installed/bin/coati-generate --model again/model --prompt 'What does the cow say?' --max-new-tokens 4 --json | grep -q '\"ids\":'"
check "LoRA, of which it knows nothing" sh -c "cd mine && '$work/installed/bin/coati-run' -q test.ini plugins.path='$work/plain' run.output='$work/lora' lora.rank=2 lora.targets=q,v && [ -e '$work/lora/adapter/adapter_config.json' ]"
finish
