#include "regex.h"
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

struct bpe_regex {
    const co_host *host;
    pcre2_code *code;
};

int bpe_regex_open(const co_host *h, const char *pattern, size_t len, bpe_regex **out, char why[200])
{
    bpe_bytes text = {0};
    int error;
    PCRE2_SIZE at;
    int rc = bpe_regex_translate(h, pattern, len, &text, why);
    bpe_regex *r = rc == CO_OK ? h->alloc(h, sizeof *r, 16) : NULL;
    if (rc == CO_OK && !r) rc = CO_E_NOMEM;
    if (rc == CO_OK) {
        r->host = h;
        r->code = pcre2_compile((PCRE2_SPTR)text.data, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &at, NULL);
        if (!r->code) {
            PCRE2_UCHAR message[120];
            pcre2_get_error_message(error, message, sizeof message);
            snprintf(why, 200, "not a regular expression: %s", (const char *)message);
            rc = CO_E_FORMAT;
        }
    }
    bpe_bytes_free(h, &text);
    if (rc) {
        h->free(h, r);
        return rc;
    }
    (void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* where there is none, matching works without */
    *out = r;
    return CO_OK;
}

void bpe_regex_close(bpe_regex *r)
{
    if (!r) return;
    pcre2_code_free(r->code);
    r->host->free(r->host, r);
}

int bpe_regex_find(const bpe_regex *r, void **space, const char *text, size_t len, size_t from, size_t *start, size_t *end)
{
    if (!*space) *space = pcre2_match_data_create(1, NULL);
    if (!*space) return CO_FAIL(r->host, CO_E_NOMEM, "tokenizer: out of memory for a regular expression");
    int n = pcre2_match(r->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK, *space, NULL);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT) /* a long match: the other way takes its memory from the heap */
        n = pcre2_match(r->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, *space, NULL);
    if (n == PCRE2_ERROR_NOMATCH) return CO_END;
    if (n < 0) {
        PCRE2_UCHAR message[120];
        pcre2_get_error_message(n, message, sizeof message);
        return CO_FAIL(r->host, CO_E_FORMAT, "tokenizer: the pre-tokenizer's regular expression fails at byte %zu of a text of %zu bytes: %s",
                       from, len, (const char *)message);
    }
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(*space);
    *start = at[0];
    *end = at[1];
    return CO_OK;
}

void bpe_regex_free_space(void *space) { pcre2_match_data_free(space); }
