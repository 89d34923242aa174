/* normal_read.c: "normalizer" of a tokenizer.json. */
#include <string.h>
#include "normal.h"
#include "steps.h"

static int copy(const co_host *h, const char *text, size_t len, char **out, size_t *out_len)
{
    *out = h->alloc(h, len + 1, 1);
    if (!*out) return CO_E_NOMEM;
    memcpy(*out, text, len);
    *out_len = len;
    return CO_OK;
}

static int read_replace(const bpe_at *a, bpe_normal_step *s)
{
    static const char *const keys[] = {"type", "pattern", "content", NULL}, *const kinds[] = {"Regex", "String", NULL};
    const char *text, *content;
    size_t len, content_len;
    bpe_at pattern, which;
    int rc = bpe_keys(a, keys);
    if (rc == CO_OK) rc = bpe_need_member(a, "pattern", &pattern);
    if (rc == CO_OK) rc = bpe_keys(&pattern, kinds);
    if (rc == CO_OK) rc = bpe_need_string(a, "content", &content, &content_len);
    if (rc == CO_OK) rc = copy(a->doc->host, content, content_len, &s->to, &s->to_len);
    if (rc) return rc;
    const int literal = bpe_member(&pattern, "String", &which);
    rc = bpe_need_string(&pattern, literal ? "String" : "Regex", &text, &len);
    if (rc == CO_OK && literal && len == 0) return bpe_refuse(&pattern, CO_E_UNSUPPORTED, "an empty text to be replaced");
    if (rc == CO_OK && literal) return copy(a->doc->host, text, len, &s->from, &s->from_len);
    if (rc == CO_OK) bpe_member(&pattern, "Regex", &which);
    return rc ? rc : bpe_regex_read(&which, text, len, &s->regex);
}

static int read_strip(const bpe_at *a, bpe_normal_step *s)
{
    static const char *const keys[] = {"type", "strip_left", "strip_right", NULL};
    int rc = bpe_keys(a, keys);
    if (rc == CO_OK) rc = bpe_need_bool(a, "strip_left", &s->left);
    if (rc == CO_OK) rc = bpe_need_bool(a, "strip_right", &s->right);
    return rc;
}

static int read_prepend(const bpe_at *a, bpe_normal_step *s)
{
    static const char *const keys[] = {"type", "prepend", NULL};
    const char *text;
    size_t len;
    int rc = bpe_keys(a, keys);
    if (rc == CO_OK) rc = bpe_need_string(a, "prepend", &text, &len);
    return rc ? rc : copy(a->doc->host, text, len, &s->to, &s->to_len);
}

static int read_one(const bpe_at *a, bpe_normal *out, int depth);

static int read_sequence(const bpe_at *a, bpe_normal *out, int depth)
{
    static const char *const keys[] = {"type", "normalizers", NULL};
    bpe_at list, one;
    int rc = bpe_keys(a, keys);
    if (rc == CO_OK) rc = bpe_need_member(a, "normalizers", &list);
    if (rc == CO_OK) rc = bpe_want(&list, BPE_ARRAY);
    for (uint32_t i = 0; rc == CO_OK && bpe_element(&list, i, &one); i++) rc = read_one(&one, out, depth + 1);
    return rc;
}

static int read_one(const bpe_at *a, bpe_normal *out, int depth)
{
    static const char *const names[] = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Prepend", "Replace", "Strip"};
    static const char *const plain[] = {"type", NULL};
    const char *type;
    size_t len;
    bpe_at at;
    int rc = bpe_want(a, BPE_OBJECT);
    if (rc == CO_OK) rc = bpe_need_string(a, "type", &type, &len);
    if (rc) return rc;
    if (strcmp(type, "Sequence") == 0 && depth < 8) return read_sequence(a, out, depth);
    for (int i = 0; i <= BPE_STRIP; i++) {
        if (strcmp(type, names[i]) != 0) continue;
        if (out->n == BPE_MAX_NORMAL) return bpe_refuse(a, CO_E_UNSUPPORTED, "more than %d steps", BPE_MAX_NORMAL);
        bpe_normal_step *s = &out->step[out->n++];
        s->kind = (bpe_normal_kind)i;
        switch (s->kind) {
        case BPE_PREPEND: return read_prepend(a, s);
        case BPE_REPLACE: return read_replace(a, s);
        case BPE_STRIP: return read_strip(a, s);
        default: return bpe_keys(a, plain);
        }
    }
    bpe_member(a, "type", &at);
    return bpe_refuse(&at, CO_E_UNSUPPORTED, "\"%s\" is not offered; NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Prepend, Replace, Strip and "
                      "Sequence are", type);
}

int bpe_normal_read(const bpe_at *a, bpe_normal *out)
{
    *out = (bpe_normal){0};
    return a ? read_one(a, out, 0) : CO_OK;
}

void bpe_normal_close(const co_host *h, bpe_normal *n)
{
    for (size_t i = 0; i < n->n; i++) {
        h->free(h, n->step[i].from);
        h->free(h, n->step[i].to);
        bpe_regex_close(n->step[i].regex);
    }
    *n = (bpe_normal){0};
}
