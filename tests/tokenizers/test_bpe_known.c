/* The patterns cut by hand against PCRE2: the same pieces for a million random texts each, and for every shared text. */
#include "../data/fake_host.h"
#include "check.h"
#include "core/base/fs.h"
#include "plugins/tokenizers/bpe/known.h"
#include "plugins/tokenizers/bpe/regex.h"

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer)
enum { RANDOM_TEXTS = 40000 };
#else
enum { RANDOM_TEXTS = 1000000 };
#endif

static const char *const patterns[] = {
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    " ?[^(\\s|[.,!?…。，、।۔،])]+"};
enum { PATTERNS = sizeof patterns / sizeof patterns[0] };

static bpe_unicode u;
static bpe_regex *regex[PATTERNS];
static bpe_known known[PATTERNS];
static void *space;

static uint64_t state = 88172645463325252u;
static uint32_t draw(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % n;
}

/* Whether the hand cuts text[0..len) as the pattern does. */
static int same_cuts(int k, const char *text, size_t len)
{
    size_t at = 0, start = 0, end = 0;
    int rc = bpe_regex_find(regex[k], &space, text, len, 0, &start, &end);
    while (at < len) {
        int match;
        const size_t n = known[k](&u, (const uint8_t *)text + at, (const uint8_t *)text + len, &match);
        if (n == 0 || at + n > len) return 0;
        if (rc == CO_OK && start == at) { /* the pattern matches here */
            if (!match || end != at + n) return 0;
            rc = bpe_regex_find(regex[k], &space, text, len, end, &start, &end);
        } else if (match || at + n != (rc == CO_OK ? start : len)) {
            return 0;
        }
        at += n;
    }
    return 1;
}

static size_t random_text(char *out)
{
    static const char *const words[] = {"'s", "'S", "'re", "'LL", "'ve", "'d", "'m", "'\xC5\xBF", "'", " ", "  ", "\n", "\r\n", "\t", " \n ", "\xC2\xA0",
                                        "\xE3\x80\x80", "\xC2\x85", "\xE1\xA0\x8E", "\xE2\x80\xA8", "a", "ab", "Z", "1", "12", "1234", "(", ")", "|", ".",
                                        ",", "!", "?", "[", "]", "^", "\xE2\x80\xA6", "\xE3\x80\x82", "\xEF\xBC\x8C", "\xE3\x80\x81", "\xE0\xA5\xA4",
                                        "\xDB\x94", "\xD8\x8C", "\xE4\xBD\xA0", "\xF0\x9F\xA6\x99", "e\xCC\x81", "\xC2\xB2", "-", "_"};
    size_t n = 0;
    for (uint32_t i = 1 + draw(9); i > 0; i--) {
        uint32_t c;
        switch (draw(6)) {
        case 0: c = 1 + draw(0x7F); break;
        case 1: c = 1 + draw(0x3000); break;
        case 2: c = 1 + draw(0x10FFFF); break;
        default: {
            const char *w = words[draw(sizeof words / sizeof words[0])];
            memcpy(out + n, w, strlen(w));
            n += strlen(w);
            continue;
        }
        }
        if (c < 0xD800 || c >= 0xE000) n += bpe_utf8_put(c, out + n);
    }
    return n;
}

static void test_random(void)
{
    char text[128];
    for (int k = 0; k < PATTERNS; k++) {
        int bad = 0;
        for (int i = 0; i < RANDOM_TEXTS; i++) {
            const size_t n = random_text(text);
            if (same_cuts(k, text, n)) continue;
            if (bad++ < 3) printf("pattern %d cuts \"%.*s\" differently\n", k, (int)n, text);
        }
        CHECK_MSG(bad == 0, "pattern %d: %d of %d texts are cut differently", k, bad, RANDOM_TEXTS);
    }
}

/* Every character: alone, after a space, before a letter, and doubled. */
static void test_every_character(void)
{
    char text[32];
    int bad = 0;
    for (uint32_t c = 1; c < 0x110000; c++) {
        char one[4];
        const size_t n = bpe_utf8_put(c, one);
        if (c >= 0xD800 && c < 0xE000) continue;
        const int len = snprintf(text, sizeof text, "%.*s %.*sa%.*s%.*s1", (int)n, one, (int)n, one, (int)n, one, (int)n, one);
        for (int k = c < 0x3000 || c % 7 == 0 ? 0 : PATTERNS; k < PATTERNS; k++) bad += !same_cuts(k, text, (size_t)len);
    }
    CHECK_MSG(bad == 0, "%d cases", bad);
}

static void test_files(void)
{
    static const char *const folders[] = {"sft", "pretrain", "prompts", "preference"};
    const char *env = getenv("COATI_SHARED");
    char dir[4200];
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char **names;
        size_t n;
        snprintf(dir, sizeof dir, "%s/data/%s", env ? env : COATI_SOURCE_DIR "/../shared", folders[i]);
        if (!fs_is_dir(dir)) {
            printf("skipped: %s is not there\n", dir);
            continue;
        }
        CHECK(fs_list(dir, &names, &n) == CO_OK && n > 0);
        for (size_t f = 0; f < n; f++) {
            char *text, *path = fs_join(dir, names[f]);
            size_t len;
            CHECK(fs_read_all(path, &text, &len, 1 << 26) == CO_OK);
            len = bpe_utf8_valid(text, len); /* nothing to see in what is packed */
            for (int k = 0; k < PATTERNS; k++) CHECK_MSG(same_cuts(k, text, len), "pattern %d, %s", k, path);
            mem_free(text);
            mem_free(path);
        }
        fs_free_list(names, n);
    }
}

int main(void)
{
    char why[200];
    CHECK(bpe_unicode_open(&fake_host, &u) == CO_OK);
    for (int k = 0; k < PATTERNS; k++) {
        CHECK_MSG(bpe_regex_open(&fake_host, patterns[k], strlen(patterns[k]), &regex[k], why) == CO_OK, "%s", why);
        known[k] = bpe_known_pattern(patterns[k], strlen(patterns[k]));
        CHECK(known[k] != NULL);
    }
    CHECK(bpe_known_pattern("x", 1) == NULL);
    if (check_failed) return check_done();
    test_random();
    test_every_character();
    test_files();
    for (int k = 0; k < PATTERNS; k++) bpe_regex_close(regex[k]);
    bpe_regex_free_space(space);
    bpe_unicode_close(&fake_host, &u);
    return check_done();
}
