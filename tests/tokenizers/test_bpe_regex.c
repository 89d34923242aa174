/* Oniguruma's patterns in PCRE2: what each matches, and which are refused. */
#include "../data/fake_host.h"
#include "check.h"
#include "plugins/tokenizers/bpe/regex.h"
#include "plugins/tokenizers/bpe/unicode.h"

static void *space;

/* All matches in `text`, between bars. */
static void expect(const char *pattern, const char *text, const char *want)
{
    char why[200], got[512] = "";
    bpe_regex *r = NULL;
    size_t at = 0, start, end, n = 0;
    int rc = bpe_regex_open(&fake_host, pattern, strlen(pattern), &r, why);
    CHECK_MSG(rc == CO_OK, "%s: %s", pattern, why);
    if (rc) return;
    while (at <= strlen(text) && bpe_regex_find(r, &space, text, strlen(text), at, &start, &end) == CO_OK) {
        n += (size_t)snprintf(got + n, sizeof got - n, "%.*s|", (int)(end - start), text + start);
        at = end > start ? end : end + 1;
    }
    CHECK_MSG(strcmp(got, want) == 0, "%s on \"%s\": \"%s\", want \"%s\"", pattern, text, got, want);
    bpe_regex_close(r);
}

static void test_meanings(void)
{
    expect("[^(\\s|[.,])]+", "a(b|c.d,e)f g", "a|b|c|d|e|f|g|");         /* BLOOM's kind: the bracket opens a class of its own */
    expect("[a[bc]d]+", "abcdx", "abcd|");
    expect("[a[^b-z]]+", "abAzc", "a|A|");                               /* a or anything that is not b to z */
    expect("[^a[^b-z]]+", "abAzc", "b|zc|");
    expect("[\\S]+", "a b", "a|b|");
    expect("[^\\S]", "a b", " |");
    expect("[^\\S\\n]+", " \n\t", " |\t|");                              /* white space but for the new line */
    expect("\\w+", "a_1\xC2\xB2-\xCC\x81 \xE2\x80\xBF", "a_1\xC2\xB2|\xCC\x81|\xE2\x80\xBF|"); /* marks and connectors are words */
    expect("\\s", "\xE1\xA0\x8E \xC2\x85", " |\xC2\x85|");               /* U+180E is no white space */
    expect("\\d+", "12\xD9\xA3x", "12\xD9\xA3|");
    expect("\\p{L}+", "\xE1\xB2\x89" "a1", "\xE1\xB2\x89" "a|");         /* a letter of Unicode 16 */
    expect("\\P{L}+", "\xE1\xB2\x89" "a1", "1|");
    expect("\\p{^L}+", "a1b", "1|");
    expect("[\\p{Lu}\\p{N}]+", "aB1c", "B1|");
    expect("[\\P{N}a]+", "1a2b", "a|b|");
    expect("(?i:'s|'t)|b", "'S'\xC5\xBF" "B", "'S|'\xC5\xBF|");
    expect("a{2}|b{1,2}|\\{x{", "aaa bbb {x{", "aa|bb|b|{x{|");
    expect("a.c", "abc a\nc", "abc|");
    expect("^b$", "a\nb\nc", "b|");
    expect("\\Aa|c\\z", "aa cc", "a|c|");
    expect("a++b|(c)(?:d)", "aab cd", "aab|cd|");
    expect("\\x41\\x{4F60}\\u597d", "A\xE4\xBD\xA0\xE5\xA5\xBD", "A\xE4\xBD\xA0\xE5\xA5\xBD|");
    expect("\\.\\-\\/\\t#", "./ .-/\t#", ".-/\t#|");
    expect("[\\]\\-\\\\a-c]+", "]-\\b", "]-\\b|");
    expect("(?<=a)b(?!c)", "ab abc", "b|");
    expect("[\xE2\x80\xA6\xE3\x80\x82]+", "a\xE2\x80\xA6\xE3\x80\x82", "\xE2\x80\xA6\xE3\x80\x82|");
}

static void test_refusals(void)
{
    static const struct { const char *pattern; int code; const char *says; } cases[] = {
        {"\\h+", CO_E_UNSUPPORTED, "an escape that is not offered at \"\\h+\""},
        {"a\\b", CO_E_UNSUPPORTED, "at \"\\b\""},
        {"(a)\\1", CO_E_UNSUPPORTED, "at \"\\1\""},
        {"[[:alpha:]]", CO_E_UNSUPPORTED, "a POSIX class at \"[:alpha:]]\""},
        {"[a-z&&[^b]]", CO_E_UNSUPPORTED, "an intersection of classes at \"&&[^b]]\""},
        {"(?<name>a)", CO_E_UNSUPPORTED, "a kind of group that is not offered"},
        {"(?m)a", CO_E_UNSUPPORTED, "a kind of group that is not offered"},
        {"\\p{Greek_Extended}", CO_E_UNSUPPORTED, "a property that is no general category"},
        {"\\p{Cn}", CO_E_UNSUPPORTED, "unassigned characters"},
        {"\\xff", CO_E_UNSUPPORTED, "a byte that is not a character"},
        {"a{,3}", CO_E_UNSUPPORTED, "a repetition without a lower bound"},
        {"a{2}+", CO_E_UNSUPPORTED, "a repetition of a repetition"},
        {"[]a]", CO_E_UNSUPPORTED, "an empty class"},
        {"[a", CO_E_FORMAT, "a class that does not end at \"[a\""},
        {"[z-a]", CO_E_FORMAT, "a range that is none"},
        {"[a-\\w]", CO_E_FORMAT, "a range that is none"},
        {"a\\", CO_E_FORMAT, "a backslash at the end"},
        {"\\x{110000}", CO_E_FORMAT, "a bad character number"},
        {"\\p{L", CO_E_FORMAT, "a property without its name in braces"},
        {"(a", CO_E_FORMAT, "not a regular expression: missing closing parenthesis"},
        {"*a", CO_E_FORMAT, "not a regular expression"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char why[200];
        bpe_regex *r = NULL;
        const int rc = bpe_regex_open(&fake_host, cases[i].pattern, strlen(cases[i].pattern), &r, why);
        CHECK_MSG(rc == cases[i].code, "%s: %d, %s", cases[i].pattern, rc, why);
        if (rc == CO_OK) bpe_regex_close(r);
        else CHECK_HAS(why, cases[i].says);
    }
}

/* \p{…}, \s and \w hold exactly the characters that the table says, Unicode 16's among them. */
static void test_every_character(void)
{
    static const struct { const char *pattern; uint32_t categories; uint8_t flags; } sets[] = {
        {"\\p{L}", BPE_LETTERS, 0}, {"\\p{N}", BPE_NUMBERS, 0}, {"\\p{M}", BPE_MARKS, 0}, {"\\p{Lu}", 1u << BPE_LU, 0}, {"\\p{Ll}", 1u << BPE_LL, 0},
        {"\\p{Lo}", 1u << BPE_LO, 0}, {"\\p{Lm}", 1u << BPE_LM, 0}, {"\\p{So}", 1u << BPE_SO, 0}, {"\\p{Cf}", 1u << BPE_CF, 0},
        {"\\p{P}", 1u << BPE_PC | 1u << BPE_PD | 1u << BPE_PS | 1u << BPE_PE | 1u << BPE_PI | 1u << BPE_PF | 1u << BPE_PO, 0},
        {"\\s", 0, BPE_SPACE}, {"\\w", 0, BPE_WORD}};
    bpe_unicode u;
    CHECK(bpe_unicode_open(&fake_host, &u) == CO_OK);
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        char why[200];
        bpe_regex *r = NULL;
        int bad = 0;
        CHECK(bpe_regex_open(&fake_host, sets[i].pattern, strlen(sets[i].pattern), &r, why) == CO_OK);
        for (uint32_t c = 0; c < 0x110000; c++) {
            char text[4];
            size_t start, end;
            if (c >= 0xD800 && c < 0xE000) continue;
            const uint8_t cls = bpe_class(&u, c);
            const int is = bpe_regex_find(r, &space, text, bpe_utf8_put(c, text), 0, &start, &end) == CO_OK;
            if (is == (bpe_in(cls, sets[i].categories) || (sets[i].flags && (cls & sets[i].flags)))) continue;
            if (bad++ < 3) printf("%s and U+%04X\n", sets[i].pattern, c);
        }
        CHECK_MSG(bad == 0, "%s: %d characters", sets[i].pattern, bad);
        bpe_regex_close(r);
    }
    bpe_unicode_close(&fake_host, &u);
}

int main(void)
{
    test_meanings();
    test_refusals();
    test_every_character();
    bpe_regex_free_space(space);
    return check_done();
}
