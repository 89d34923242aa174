/* Merging: both ways give what the definition gives; words longer than any cache; cutting before merging. */
#include <time.h>
#include "../data/fake_host.h"
#include "check.h"
#include "plugins/tokenizers/bpe/model.h"
#include "plugins/tokenizers/bpe/unicode.h"
#include "plugins/tokenizers/bpe/words.h"

static uint64_t state = 88172645463325252u;
static uint32_t draw(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % n;
}

/* As the definition has it: look for the pair of lowest rank, the leftmost of these, until there is none. */
static size_t merge_by_definition(const bpe_merges *m, uint32_t *s, size_t n)
{
    for (;;) {
        int32_t best = BPE_NO_RANK;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const int32_t r = bpe_rank(m, s[i], s[i + 1]);
            if (r < best) best = r, at = i;
        }
        if (best == BPE_NO_RANK) return n;
        s[at] = m->made[best];
        n--;
        memmove(s + at + 1, s + at + 2, (n - at - 1) * sizeof *s);
    }
}

static void random_merges(bpe_merges *m, uint32_t letters, uint32_t n)
{
    CHECK(bpe_merges_open(&fake_host, m, n) == CO_OK);
    for (uint32_t i = 0; i < n; i++) bpe_merges_add(m, draw(letters + i), draw(letters + i), letters + draw(n)); /* the same pair twice too */
}

static void test_same(void)
{
    uint32_t want[400], s[400], t[400];
    int32_t ranks[400];
    bpe_bytes work = {0};
    for (int round = 0; round < 400; round++) {
        bpe_merges m;
        const uint32_t letters = 1 + draw(5);
        random_merges(&m, letters, 1 + draw(60));
        for (int i = 0; i < 20; i++) {
            const size_t n = draw(i < 15 ? 40 : 400);
            size_t left = 0;
            for (size_t k = 0; k < n; k++) want[k] = s[k] = t[k] = draw(letters);
            const size_t n_want = merge_by_definition(&m, want, n), n_short = bpe_merge_short(&m, s, ranks, n);
            CHECK(bpe_merge_long(&fake_host, &m, t, n, &work, &left) == CO_OK);
            CHECK(n_short == n_want && memcmp(s, want, n_want * sizeof *s) == 0);
            CHECK(left == n_want && memcmp(t, want, n_want * sizeof *t) == 0);
        }
        bpe_merges_close(&m);
    }
    bpe_bytes_free(&fake_host, &work);
}

static bpe_words *new_words(void)
{
    bpe_words *w = bpe_words_new(&fake_host);
    CHECK(w && bpe_words_ready(w) == CO_OK);
    return w;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* a aa aaaa aaaaaaaa …: a word of a million letters takes n log n, not n². */
static void test_long_word(void)
{
    enum { N = 1 << 20, LEVELS = 6 };
    bpe_model m = {.host = &fake_host, .unk = BPE_NO_ID, .byte_level = 1};
    char text[64];
    memset(text, 'a', sizeof text);
    CHECK(bpe_vocab_open(&fake_host, &m.vocab, LEVELS + 1, LEVELS + 1, 256, 1) == CO_OK);
    for (uint32_t i = 0; i <= LEVELS; i++) CHECK(bpe_vocab_add(&m.vocab, text, (size_t)1 << i, i) == BPE_ADDED);
    CHECK(bpe_merges_open(&fake_host, &m.merges, LEVELS) == CO_OK);
    for (uint32_t i = 0; i < LEVELS; i++) bpe_merges_add(&m.merges, i, i, i + 1);
    bpe_model_prepare(&m);
    bpe_words *w = new_words();
    uint8_t *word = mem_alloc(N + 1, 1);
    memset(word, 'a', N + 1);
    const double start = now();
    CHECK(bpe_encode_word(&m, w, word, N + 1) == CO_OK);
    const double took = now() - start;
    CHECK(w->n_ids == N / 64 + 1 && w->ids[0] == LEVELS && w->ids[w->n_ids - 1] == 0);
    CHECK_MSG(took < 20, "a word of a million letters took %.1f s", took);
    for (size_t i = 1; i < w->n_ids - 1; i++) check_failed += w->ids[i] != LEVELS;
    /* and every length around the limits of the caches and of the short way */
    for (size_t n = 1; n < 700; n++) {
        for (int again = 0; again < 2; again++) {
            size_t sum = 0;
            w->n_ids = 0;
            CHECK(bpe_encode_word(&m, w, word, n) == CO_OK);
            for (size_t i = 0; i < w->n_ids; i++) sum += (size_t)1 << w->ids[i];
            CHECK_MSG(sum == n && w->n_ids == n / 64 + (size_t)__builtin_popcountll(n % 64), "length %zu", n);
        }
    }
    mem_free(word);
    bpe_words_free(w);
    bpe_model_close(&m);
}

/* More different words than the caches hold, twice over: what comes back from them is what went in. */
static void test_caches(void)
{
    bpe_model m = {.host = &fake_host, .unk = BPE_NO_ID, .byte_level = 1};
    CHECK(bpe_vocab_open(&fake_host, &m.vocab, 26, 26, 64, 1) == CO_OK);
    for (uint32_t i = 0; i < 26; i++) CHECK(bpe_vocab_add(&m.vocab, &"abcdefghijklmnopqrstuvwxyz"[i], 1, i) == BPE_ADDED);
    CHECK(bpe_merges_open(&fake_host, &m.merges, 0) == CO_OK);
    bpe_model_prepare(&m);
    bpe_words *w = new_words();
    int bad = 0;
    for (int round = 0; round < 2; round++) {
        state = 7;
        for (int i = 0; i < 60000; i++) {
            uint8_t word[300];
            const size_t n = 1 + draw(i % 3 ? 20 : 300);
            for (size_t k = 0; k < n; k++) word[k] = (uint8_t)('a' + draw(i % 2 ? 3 : 26));
            w->n_ids = 0;
            bad += bpe_encode_word(&m, w, word, n) != CO_OK || w->n_ids != n;
            for (size_t k = 0; k < n && k < w->n_ids; k++) bad += w->ids[k] != (uint32_t)(word[k] - 'a');
        }
    }
    CHECK_MSG(bad == 0, "%d words came back different", bad);
    bpe_words_free(w);
    bpe_model_close(&m);
}

/* Characters that no merge joins: a text cut there gives what it gives whole. */
static void test_cuts(void)
{
    static const char *const letters[] = {"a", "b", "\xE2\x96\x81", "\xE4\xBD\xA0", "c"};
    int differ = 0, cut = 0;
    for (int round = 0; round < 200; round++) {
        bpe_model m = {.host = &fake_host, .unk = 4};
        char made[64][256];
        uint32_t n = 5;
        CHECK(bpe_vocab_open(&fake_host, &m.vocab, 64, 64, 1 << 14, 0) == CO_OK);
        for (uint32_t i = 0; i < 5; i++) {
            snprintf(made[i], sizeof made[i], "%s", letters[i]);
            bpe_vocab_add(&m.vocab, made[i], strlen(made[i]), i);
        }
        const uint32_t pairs = 1 + draw(30);
        CHECK(bpe_merges_open(&fake_host, &m.merges, 64) == CO_OK);
        for (uint32_t i = 0; i < pairs; i++) {
            const uint32_t a = draw(n - 1), b = draw(n - 1);
            char text[512];
            if (a == 4 || b == 4 || strlen(made[a]) + strlen(made[b]) > 100) continue;
            snprintf(text, sizeof text, "%s%s", made[a], made[b]);
            uint32_t id = bpe_vocab_find_text(&m.vocab, text, strlen(text));
            if (id == BPE_NO_ID) {
                id = n++;
                snprintf(made[id], sizeof made[id], "%.255s", text);
                bpe_vocab_add(&m.vocab, text, strlen(text), id);
            }
            bpe_merges_add(&m.merges, a, b, id);
            const uint8_t *p = (const uint8_t *)made[a] + strlen(made[a]) - 1, *q = (const uint8_t *)made[b];
            while ((*p & 0xC0) == 0x80) p--;
            CHECK(bpe_merges_add_joint(&m.merges, bpe_utf8_next(&p), bpe_utf8_next(&q)) == CO_OK);
        }
        bpe_model_prepare(&m);
        bpe_words *w = new_words();
        for (int i = 0; i < 50; i++) {
            uint8_t text[512];
            uint32_t whole[512];
            size_t len = 0;
            for (uint32_t k = 1 + draw(100); k > 0; k--) {
                const char *c = letters[draw(5)];
                memcpy(text + len, c, strlen(c));
                len += strlen(c);
            }
            m.cuts = 0;
            w->n_ids = 0;
            CHECK(bpe_encode_text(&m, w, text, len) == CO_OK);
            const size_t n_whole = w->n_ids;
            memcpy(whole, w->ids, n_whole * sizeof *whole);
            m.cuts = 1;
            w->n_ids = 0;
            CHECK(bpe_encode_text(&m, w, text, len) == CO_OK);
            differ += w->n_ids != n_whole || memcmp(whole, w->ids, n_whole * sizeof *whole) != 0;
            cut++;
        }
        bpe_words_free(w);
        bpe_model_close(&m);
    }
    CHECK_MSG(differ == 0 && cut == 10000, "%d of %d differ", differ, cut);
}

typedef struct byte_model {
    bpe_model m;
    uint32_t ids[128], n_ids, next; /* tokens to choose from; the next free id */
} byte_model;

/* The merge of two tokens, and what it makes, which joins the tokens to choose from. */
static uint32_t add_pair(byte_model *x, uint32_t a, uint32_t b)
{
    bpe_vocab *v = &x->m.vocab;
    char text[256];
    size_t a_len, b_len, len = 0;
    const char *left = bpe_vocab_bytes(v, a, &a_len), *right = bpe_vocab_bytes(v, b, &b_len);
    if (a_len + b_len > 12) return BPE_NO_ID;
    for (size_t c = 0; c < a_len + b_len; c++) len += bpe_utf8_put(v->chars[(uint8_t)(c < a_len ? left[c] : right[c - a_len])], text + len);
    uint32_t id = bpe_vocab_find_text(v, text, len);
    if (id == BPE_NO_ID) {
        id = x->next++;
        CHECK(bpe_vocab_add(v, text, len, id) == BPE_ADDED);
        x->ids[x->n_ids++] = id;
    }
    left = bpe_vocab_bytes(v, a, &a_len), right = bpe_vocab_bytes(v, b, &b_len);
    bpe_merges_add(&x->m.merges, a, b, id);
    CHECK(bpe_merges_add_byte_joint(&x->m.merges, (const uint8_t *)left, a_len, (const uint8_t *)right, b_len) == CO_OK);
    return id;
}

static const char *const characters[] = {"\xE4\xBD\xA0", "\xE5\xA5\xBD", "\xE4\xB8\x96", "\xE7\x95\x8C", "a", "\xC3\xA9"};

/* kind 0: whole characters only; 1: with a part that begins or ends inside one here and there; 2: any bytes. */
static void open_byte_model(byte_model *x, int kind)
{
    enum { PAIRS = 60 };
    char text[8];
    *x = (byte_model){.m = {.host = &fake_host, .unk = BPE_NO_ID, .byte_level = 1, .ignore_merges = (int)draw(2)}, .next = 256};
    CHECK(bpe_vocab_open(&fake_host, &x->m.vocab, 400, 400, 1 << 15, 1) == CO_OK);
    CHECK(bpe_merges_open(&fake_host, &x->m.merges, PAIRS + 16) == CO_OK);
    for (uint32_t b = 0; b < 256; b++) CHECK(bpe_vocab_add(&x->m.vocab, text, bpe_utf8_put(x->m.vocab.chars[b], text), b) == BPE_ADDED);
    uint32_t whole[4], heads[4];
    for (int i = 0; i < 4 && kind < 2; i++) {
        const uint8_t *c = (const uint8_t *)characters[i];
        heads[i] = add_pair(x, c[0], c[1]);
        whole[i] = add_pair(x, heads[i], c[2]);
        /* one that comes before the third and fourth character are whole */
        if (kind == 1 && i == 1 && draw(2)) add_pair(x, whole[draw(2)], draw(2) ? add_pair(x, (uint8_t)characters[2][0], (uint8_t)characters[2][1]) : 0xE7);
        else if (kind == 1 && i == 1) add_pair(x, (uint8_t)characters[2 + draw(2)][2], whole[draw(2)]);
    }
    if (kind == 2)
        for (int i = 0; i < 6; i++)
            for (const char *c = characters[i]; *c; c++) x->ids[x->n_ids++] = (uint8_t)*c;
    else for (int i = x->n_ids = 0; i < 4; i++) x->ids[x->n_ids++] = whole[i];
    for (uint32_t i = draw(kind == 2 ? PAIRS : 8) + 1; i > 0; i--) {
        /* any bytes: half of them as texts have them, neighbours */
        const uint32_t k = draw(x->n_ids - 1), a = x->ids[k], b = kind == 2 && draw(2) ? x->ids[k + 1] : x->ids[draw(x->n_ids)];
        add_pair(x, a, b);
    }
    bpe_model_prepare(&x->m);
}

/* The same where symbols are bytes and tokens may begin and end inside characters. */
static void test_byte_cuts(void)
{
    int differ = 0;
    for (int round = 0; round < 600; round++) {
        byte_model x;
        open_byte_model(&x, round % 3);
        bpe_words *with = new_words(), *without = new_words();
        for (int i = 0; i < 60; i++) {
            uint8_t word[300];
            size_t len = 0;
            for (uint32_t k = 1 + draw(i % 2 ? 8 : 80); k > 0; k--) {
                const char *c = characters[draw(i % 3 ? 4 : 6)];
                memcpy(word + len, c, strlen(c));
                len += strlen(c);
            }
            with->n_ids = without->n_ids = 0;
            x.m.cuts = 0;
            CHECK(bpe_encode_word(&x.m, without, word, len) == CO_OK);
            x.m.cuts = 1;
            CHECK(bpe_encode_word(&x.m, with, word, len) == CO_OK);
            differ += with->n_ids != without->n_ids || memcmp(with->ids, without->ids, with->n_ids * sizeof *with->ids) != 0;
        }
        bpe_words_free(with);
        bpe_words_free(without);
        bpe_model_close(&x.m);
    }
    CHECK_MSG(differ == 0, "%d differ", differ);
}

int main(void)
{
    test_same();
    test_long_word();
    test_caches();
    test_cuts();
    test_byte_cuts();
    return check_done();
}
