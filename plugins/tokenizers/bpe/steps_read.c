/* steps_read.c: "pre_tokenizer" of a tokenizer.json. */
#include <string.h>
#include "steps.h"

static int is_numeric(uint8_t cls, uint32_t c)
{
    /* what Unicode 17 added is numeric for tokenizers' Digits, though not yet for its \p{N} */
    return bpe_in(cls, BPE_NUMBERS) || (c >= 0x11DE0 && c <= 0x11DE9) || (c >= 0x16FF4 && c <= 0x16FF6);
}
static int is_punctuation(uint8_t cls, uint32_t c) { return (void)c, cls & BPE_PUNCT; }
static int is_space(uint8_t cls, uint32_t c) { return (void)c, cls & BPE_SPACE; }

static int add_step(const bpe_at *a, bpe_steps *out, bpe_step **step)
{
    if (out->n == BPE_MAX_STEPS) return bpe_refuse(a, CO_E_UNSUPPORTED, "more than %d steps", BPE_MAX_STEPS);
    if (out->byte_level) return bpe_refuse(a, CO_E_UNSUPPORTED, "a step after ByteLevel, whose output is no longer text");
    *step = &out->step[out->n++];
    return CO_OK;
}

static int copy_literal(const co_host *h, bpe_step *s, const char *text, size_t len)
{
    s->literal = h->alloc(h, len + 1, 1);
    if (!s->literal) return CO_E_NOMEM;
    memcpy(s->literal, text, len);
    s->literal_len = len;
    return CO_OK;
}

static int read_behavior(const bpe_at *a, int needed, bpe_behavior def, bpe_behavior *out)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const char *name;
    size_t len;
    bpe_at b;
    *out = def;
    if (!bpe_member(a, "behavior", &b)) return needed ? bpe_need_member(a, "behavior", &b) : CO_OK;
    int rc = bpe_need_string(a, "behavior", &name, &len);
    for (int i = 0; rc == CO_OK && i < 5; i++)
        if (strcmp(name, names[i]) == 0) return *out = (bpe_behavior)i, CO_OK;
    return rc ? rc : bpe_refuse(&b, CO_E_UNSUPPORTED, "\"%s\": Removed, Isolated, MergedWithPrevious, MergedWithNext and Contiguous are offered", name);
}

int bpe_regex_read(const bpe_at *a, const char *pattern, size_t len, bpe_regex **out)
{
    char why[200];
    int rc = bpe_regex_open(a->doc->host, pattern, len, out, why);
    return rc == CO_OK || rc == CO_E_NOMEM ? rc : bpe_refuse(a, rc, "%s", why);
}

static int read_split(const bpe_at *a, bpe_steps *out)
{
    static const char *const keys[] = {"type", "pattern", "behavior", "invert", NULL}, *const kinds[] = {"Regex", "String", NULL};
    const char *text;
    size_t len;
    bpe_at pattern, which;
    bpe_step *s = NULL;
    int rc = bpe_keys(a, keys);
    if (rc == CO_OK) rc = bpe_need_member(a, "pattern", &pattern);
    if (rc == CO_OK) rc = bpe_keys(&pattern, kinds);
    if (rc == CO_OK) rc = add_step(a, out, &s);
    if (rc == CO_OK) rc = read_behavior(a, 1, BPE_ISOLATED, &s->behavior);
    if (rc == CO_OK) rc = bpe_get_bool(a, "invert", 0, &s->invert);
    if (rc) return rc;
    if (bpe_member(&pattern, "String", &which)) {
        rc = bpe_need_string(&pattern, "String", &text, &len);
        return rc ? rc : copy_literal(a->doc->host, s, text, len);
    }
    rc = bpe_need_string(&pattern, "Regex", &text, &len);
    if (rc) return rc;
    s->known = bpe_known_pattern(text, len);
    bpe_member(&pattern, "Regex", &which);
    return s->known ? CO_OK : bpe_regex_read(&which, text, len, &s->regex);
}

static int read_byte_level(const bpe_at *a, bpe_steps *out)
{
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    int lead, regex, ignored, rc = bpe_keys(a, keys);
    bpe_step *s = NULL;
    if (rc == CO_OK) rc = bpe_get_bool(a, "add_prefix_space", 1, &lead);
    if (rc == CO_OK) rc = bpe_get_bool(a, "use_regex", 1, &regex);
    if (rc == CO_OK) rc = bpe_get_bool(a, "trim_offsets", 1, &ignored); /* offsets are not asked for */
    if (rc == CO_OK && lead) {
        rc = add_step(a, out, &s);
        if (rc == CO_OK) *s = (bpe_step){.kind = BPE_LEAD, .lead = BPE_ALWAYS};
    }
    if (rc == CO_OK && regex) {
        rc = add_step(a, out, &s);
        if (rc == CO_OK) *s = (bpe_step){.kind = BPE_CUT, .behavior = BPE_ISOLATED, .known = bpe_known_gpt2()};
    }
    if (rc == CO_OK && out->byte_level) rc = bpe_refuse(a, CO_E_UNSUPPORTED, "ByteLevel twice");
    out->byte_level = 1;
    return rc;
}

/* Older files say add_prefix_space where newer ones say prepend_scheme; both may stand there and must agree. */
int bpe_lead_read(const bpe_at *a, bpe_lead *out)
{
    static const char *const names[] = {"never", "first", "always"};
    const char *name;
    size_t len;
    bpe_at at;
    int space, k = 0, rc = bpe_get_bool(a, "add_prefix_space", 1, &space);
    *out = space ? BPE_ALWAYS : BPE_NEVER;
    if (rc || !bpe_member(a, "prepend_scheme", &at)) return rc;
    rc = bpe_need_string(a, "prepend_scheme", &name, &len);
    if (rc) return rc;
    while (k < 3 && strcmp(name, names[k]) != 0) k++;
    if (k == 3) return bpe_refuse(&at, CO_E_UNSUPPORTED, "\"%s\": never, first and always are offered", name);
    bpe_at old;
    if (bpe_member(a, "add_prefix_space", &old) && !space && k != BPE_NEVER)
        return bpe_refuse(&at, CO_E_FORMAT, "\"%s\" contradicts add_prefix_space", name);
    *out = (bpe_lead)k;
    return CO_OK;
}

static int read_metaspace(const bpe_at *a, bpe_steps *out)
{
    static const char *const keys[] = {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep", NULL};
    const char *mark;
    size_t len;
    int split, rc = bpe_keys(a, keys);
    bpe_step *s = NULL;
    bpe_lead lead;
    if (rc == CO_OK) rc = bpe_need_string(a, "replacement", &mark, &len);
    if (rc == CO_OK && (len == 0 || bpe_utf8_len((uint8_t)*mark) != len)) rc = bpe_refuse(a, CO_E_FORMAT, "replacement must be one character");
    if (rc == CO_OK) rc = bpe_lead_read(a, &lead);
    if (rc == CO_OK) rc = bpe_get_bool(a, "split", 1, &split);
    if (rc == CO_OK) rc = add_step(a, out, &s);
    if (rc) return rc;
    *s = (bpe_step){.kind = BPE_METASPACE, .lead = lead};
    rc = copy_literal(a->doc->host, s, mark, len);
    if (rc == CO_OK && split) rc = add_step(a, out, &s);
    if (rc || !split) return rc;
    *s = (bpe_step){.kind = BPE_CUT, .behavior = BPE_WITH_NEXT};
    return copy_literal(a->doc->host, s, mark, len);
}

static int read_characters(const bpe_at *a, bpe_steps *out, const char *type)
{
    static const char *const digits[] = {"type", "individual_digits", NULL}, *const punctuation[] = {"type", "behavior", NULL},
                      *const plain[] = {"type", NULL}, *const delimiter[] = {"type", "delimiter", NULL};
    const int is_digits = strcmp(type, "Digits") == 0, is_punct = strcmp(type, "Punctuation") == 0, is_delimiter = strcmp(type, "CharDelimiterSplit") == 0;
    const char *text;
    size_t len;
    int each, rc = bpe_keys(a, is_digits ? digits : is_punct ? punctuation : is_delimiter ? delimiter : plain);
    bpe_step *s = NULL;
    if (rc == CO_OK) rc = add_step(a, out, &s);
    if (rc) return rc;
    *s = (bpe_step){.kind = BPE_CUT, .behavior = BPE_REMOVED};
    if (is_punct) {
        s->is = is_punctuation;
        return read_behavior(a, 0, BPE_ISOLATED, &s->behavior);
    }
    if (is_digits) {
        s->is = is_numeric;
        rc = bpe_need_bool(a, "individual_digits", &each);
        s->behavior = each ? BPE_ISOLATED : BPE_CONTIGUOUS;
        return rc;
    }
    if (is_delimiter) {
        rc = bpe_need_string(a, "delimiter", &text, &len);
        return rc ? rc : copy_literal(a->doc->host, s, text, len);
    }
    if (strcmp(type, "WhitespaceSplit") == 0) {
        s->is = is_space;
        return CO_OK;
    }
    /* Whitespace: words and runs of anything else are kept. Rust's \w differs from Oniguruma's in these characters. */
    static const char words[] = "(?:(?![\\u00B2\\u00B3\\u00B9\\u00BC-\\u00BE])[\\w\\u200C\\u200D])+|"
                                "(?:[\\u00B2\\u00B3\\u00B9\\u00BC-\\u00BE]|[^\\w\\s\\u200C\\u200D])+";
    s->invert = 1;
    return bpe_regex_read(a, words, sizeof words - 1, &s->regex);
}

static int read_one(const bpe_at *a, bpe_steps *out, int depth);

static int read_sequence(const bpe_at *a, bpe_steps *out, int depth)
{
    static const char *const keys[] = {"type", "pretokenizers", NULL};
    bpe_at list, one;
    int rc = bpe_keys(a, keys);
    if (rc == CO_OK) rc = bpe_need_member(a, "pretokenizers", &list);
    if (rc == CO_OK) rc = bpe_want(&list, BPE_ARRAY);
    for (uint32_t i = 0; rc == CO_OK && bpe_element(&list, i, &one); i++) rc = read_one(&one, out, depth + 1);
    return rc;
}

static int read_one(const bpe_at *a, bpe_steps *out, int depth)
{
    static const char *const characters[] = {"Digits", "Punctuation", "Whitespace", "WhitespaceSplit", "CharDelimiterSplit", NULL};
    const char *type;
    size_t len;
    bpe_at at;
    int rc = bpe_want(a, BPE_OBJECT);
    if (rc == CO_OK) rc = bpe_need_string(a, "type", &type, &len);
    if (rc) return rc;
    if (strcmp(type, "Sequence") == 0 && depth < 8) return read_sequence(a, out, depth);
    if (strcmp(type, "Split") == 0) return read_split(a, out);
    if (strcmp(type, "ByteLevel") == 0) return read_byte_level(a, out);
    if (strcmp(type, "Metaspace") == 0) return read_metaspace(a, out);
    for (int i = 0; characters[i]; i++)
        if (strcmp(type, characters[i]) == 0) return read_characters(a, out, type);
    bpe_member(a, "type", &at);
    return bpe_refuse(&at, CO_E_UNSUPPORTED, "\"%s\" is not offered; Split, ByteLevel, Metaspace, Sequence, Digits, Punctuation, Whitespace, "
                      "WhitespaceSplit and CharDelimiterSplit are", type);
}

int bpe_steps_read(const bpe_at *a, bpe_steps *out)
{
    *out = (bpe_steps){0};
    return a ? read_one(a, out, 0) : CO_OK;
}

void bpe_steps_of_byte_level(bpe_steps *s, int lead, const char *pattern)
{
    *s = (bpe_steps){.byte_level = 1};
    if (lead) s->step[s->n++] = (bpe_step){.kind = BPE_LEAD, .lead = BPE_ALWAYS};
    s->step[s->n++] = (bpe_step){.kind = BPE_CUT, .behavior = BPE_ISOLATED,
                                 .known = pattern ? bpe_known_pattern(pattern, strlen(pattern)) : bpe_known_gpt2()};
}

void bpe_steps_close(const co_host *h, bpe_steps *s)
{
    for (size_t i = 0; i < s->n; i++) {
        bpe_regex_close(s->step[i].regex);
        h->free(h, s->step[i].literal);
    }
    *s = (bpe_steps){0};
}
