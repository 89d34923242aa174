/* fuzz_tokenizer_json.c: any bytes as a tokenizer.json. Either they are refused with a message that names the file, or
 * there is a tokenizer: its ids are below its size, the same again, and decode to the same text at once and one by one.
 * Bytes behind a NUL are merges.txt, and those before it vocab.json. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "../data/fake_host.h"
#include "core/base/fs.h"
#include "plugins/tokenizers/bpe/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds)
{
    if (!holds) __builtin_trap();
}

static char dir[64]; /* made by the first input, removed at the end */

static void put(const char *name, const uint8_t *data, size_t size)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    const int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    demand(fd >= 0 && write(fd, data, size) == (ssize_t)size && close(fd) == 0);
}

static void drop(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

static void clean(void)
{
    drop("tokenizer.json");
    drop("vocab.json");
    drop("merges.txt");
    rmdir(dir);
}

static void check_text(bpe_tokenizer *t, const char *text, size_t len)
{
    bpe_words *w;
    int rc = bpe_tokenizer_encode(t, text, len, &w);
    demand(rc == CO_OK || rc == CO_E_FORMAT); /* a pattern or a normalizer may be too much for a text */
    if (rc) return;
    const size_t n_ids = w->n_ids;
    int32_t *ids = malloc((n_ids + 1) * sizeof *ids);
    demand(ids != NULL);
    if (n_ids) memcpy(ids, w->ids, n_ids * sizeof *ids);
    bpe_tokenizer_give_back(t, w);
    demand(bpe_tokenizer_encode(t, text, len, &w) == CO_OK);
    demand(w->n_ids == n_ids && (n_ids == 0 || memcmp(w->ids, ids, n_ids * sizeof *ids) == 0));
    for (size_t i = 0; i < w->n_ids; i++) demand(ids[i] >= 0 && w->ids[i] < t->pieces.n);
    char *all = malloc(bpe_pieces_room(&t->pieces, ids, w->n_ids) + 1), *one = malloc(bpe_pieces_room(&t->pieces, ids, w->n_ids) + 1);
    demand(all && one);
    const size_t n = bpe_pieces_join(&t->pieces, ids, w->n_ids, 1, all);
    size_t at = 0;
    for (size_t i = 0; i < w->n_ids; i++) at += bpe_pieces_join(&t->pieces, ids + i, 1, 1, one + at);
    demand(at == n && memcmp(all, one, n) == 0);
    demand(bpe_pieces_join(&t->pieces, ids, w->n_ids, 0, one) <= n);
    free(all);
    free(one);
    free(ids);
    bpe_tokenizer_give_back(t, w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const texts[] = {"", "ab", "Hello, world! it's 123  abc\n\n\xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\xA6\x99 <s>x</s>", "e\xCC\x81 \xFF\xC3 aabb"};
    bpe_tokenizer *t = NULL;
    const uint8_t *second = memchr(data, 0, size);
    if (!*dir) {
        snprintf(dir, sizeof dir, "/tmp/coati-fuzz-tokenizer-%d", (int)getpid());
        mkdir(dir, 0700);
        atexit(clean);
    }
    put(second ? "vocab.json" : "tokenizer.json", data, second ? (size_t)(second - data) : size);
    if (second) put("merges.txt", second + 1, size - (size_t)(second + 1 - data));
    if (second) drop("tokenizer.json");
    const int rc = bpe_tokenizer_open(&fake_host, dir, &t);
    demand(rc == CO_OK || rc == CO_E_FORMAT || rc == CO_E_UNSUPPORTED);
    if (rc == CO_OK) {
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) check_text(t, texts[i], strlen(texts[i]));
        check_text(t, (const char *)data, size < 400 ? size : 400);
        bpe_tokenizer_close(t);
    } else {
        demand(strstr(error_message(), dir) || strncmp(error_message(), "tokenizer: ", 11) == 0);
    }
    return 0;
}
