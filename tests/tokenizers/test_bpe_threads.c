/* Many threads encode with one tokenizer at once, and with two: the ids are those of one thread alone. */
#include <coati/plugin.h>
#include <pthread.h>
#include "golden.h"

extern const co_plugin *coati_plugin_v1_test_bpe(void);
static const co_tokenizer_vt *vt;
enum { THREADS = 8, TEXTS = 400, ROUNDS = 5, WORDS = 12 };
static char texts[TEXTS][256];
static int32_t want[TEXTS][256];
static size_t n_want[TEXTS];

typedef struct job {
    void *t;
    int first, bad;
} job;

static void *encode_all(void *ctx)
{
    job *j = ctx;
    co_arena *a = arena_new(1 << 16);
    for (int i = 0; i < ROUNDS * TEXTS; i++) {
        const int k = (j->first + i * 7) % TEXTS;
        int32_t *ids;
        size_t n;
        j->bad += vt->encode(j->t, texts[k], strlen(texts[k]), a, &ids, &n) != CO_OK || n != n_want[k] || memcmp(ids, want[k], n * sizeof *ids) != 0;
        if (i % 50 == 0) arena_reset(a);
    }
    arena_free(a);
    return NULL;
}

static void test_together(const char *name)
{
    static const char *const words[] = {"The", " coati", " eats", "你好世界", "中文", "\n", "  ", "x=1;", "🦙", " 12345", "é", "<s>", "'s", " straße", "日本語"};
    char path[4096];
    void *t[2] = {NULL, NULL};
    const co_tokenizer_common o = {path};
    job jobs[THREADS];
    pthread_t threads[THREADS];
    co_arena *a = arena_new(1 << 16);
    uint32_t draw = 1;
    snprintf(path, sizeof path, "%s/tests/tokenizers/%s", COATI_SOURCE_DIR, name);
    CHECK(vt->open(&fake_host, &o, &t[0]) == CO_OK && vt->open(&fake_host, &o, &t[1]) == CO_OK);
    for (int i = 0; i < TEXTS; i++) {
        int32_t *ids;
        texts[i][0] = 0;
        for (int k = 0; k < WORDS; k++) {
            draw = draw * 1664525u + 1013904223u;
            strcat(texts[i], words[(draw >> 16) % (sizeof words / sizeof words[0])]);
        }
        CHECK(vt->encode(t[0], texts[i], strlen(texts[i]), a, &ids, &n_want[i]) == CO_OK && n_want[i] <= 256);
        memcpy(want[i], ids, n_want[i] * sizeof *ids);
    }
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (job){t[i % 3 == 0], i * 50, 0};
        CHECK(pthread_create(&threads[i], NULL, encode_all, &jobs[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK_MSG(jobs[i].bad == 0, "%s, thread %d: %d texts differ", name, i, jobs[i].bad);
    }
    for (int i = 0; i < 2; i++) vt->close(t[i]);
    arena_free(a);
}

int main(void)
{
    vt = coati_plugin_v1_test_bpe()->features[0]->vt;
    test_together("llama3");
    test_together("llama2");
    test_together("odd_words"); /* with a regular expression */
    return check_done();
}
