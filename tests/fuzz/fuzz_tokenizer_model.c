/* fuzz_tokenizer_model.c: any bytes as a tokenizer.model. Either they are refused with a message that names the file, or
 * there is a tokenizer: ids below its size, the same again, and text back at once as one by one. */
#include <coati/plugin.h>
#include <coati/tokenizer.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../data/fake_host.h"

extern const co_plugin *coati_plugin_v1_test_sentencepiece(void);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds)
{
    if (!holds) __builtin_trap();
}

static char path[64]; /* made by the first input, removed at the end */
static void clean(void) { unlink(path); }

static void check_text(const co_tokenizer_vt *vt, void *t, const char *text, size_t len, int64_t n_vocab, co_arena *a)
{
    int32_t *ids, *again;
    size_t n, n_again, n_all, n_one, at = 0;
    char *all, *one;
    int rc = vt->encode(t, text, len, a, &ids, &n);
    demand(rc == CO_OK || rc == CO_E_FORMAT);
    if (rc) return;
    demand(vt->encode(t, text, len, a, &again, &n_again) == CO_OK && n == n_again && (n == 0 || memcmp(ids, again, n * sizeof *ids) == 0));
    for (size_t i = 0; i < n; i++) demand(ids[i] >= 0 && ids[i] < n_vocab);
    demand(vt->decode(t, ids, n, 1, a, &all, &n_all) == CO_OK);
    for (size_t i = 0; i < n; i++) {
        demand(vt->decode(t, ids + i, 1, 1, a, &one, &n_one) == CO_OK && at + n_one <= n_all && memcmp(all + at, one, n_one) == 0);
        at += n_one;
    }
    demand(at == n_all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const texts[] = {"", "ab", "a b  ab\n \xE2\x96\x81 <s>", "e\xCC\x81 \xFF\xC3 aabb"};
    const co_tokenizer_vt *vt = coati_plugin_v1_test_sentencepiece()->features[0]->vt;
    void *t = NULL;
    int64_t n_vocab = 0;
    if (!*path) {
        snprintf(path, sizeof path, "/tmp/coati-fuzz-%d.model", (int)getpid());
        atexit(clean);
    }
    const int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    demand(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
    const co_tokenizer_common o = {path};
    const int rc = vt->open(&fake_host, &o, &t);
    demand(rc == CO_OK || rc == CO_E_FORMAT || rc == CO_E_UNSUPPORTED);
    if (rc) {
        demand(strstr(error_message(), path) != NULL);
        return 0;
    }
    co_arena *a = arena_new(1 << 14);
    demand(vt->n_vocab(t, &n_vocab) == CO_OK && n_vocab > 0);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) check_text(vt, t, texts[i], strlen(texts[i]), n_vocab, a);
    check_text(vt, t, (const char *)data, size < 300 ? size : 300, n_vocab, a);
    static const char *const roles[] = {"bos", "eos", "unk", "pad", "before", "after"};
    for (int i = 0; i < 6; i++) demand(vt->special(t, roles[i]) < n_vocab);
    arena_free(a);
    vt->close(t);
    return 0;
}
