#include <stdlib.h>
#include <string.h>
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/params/json.h"
#include "core/params/st_private.h"

static const struct {
    const char *name;
    uint32_t dtype, size;
} dtypes[] = {
    {"F32", CO_F32, 4},        {"BF16", CO_BF16, 2},   {"F16", CO_F16, 2},        {"I32", CO_I32, 4},
    {"U8", CO_U8, 1},          {"I64", CO_I64, 8},     {"F64", CO_F64, 8},        {"BOOL", UINT32_MAX, 1},
    {"I8", UINT32_MAX, 1},     {"I16", UINT32_MAX, 2}, {"U16", UINT32_MAX, 2},    {"U32", UINT32_MAX, 4},
    {"U64", UINT32_MAX, 8},    {"C64", UINT32_MAX, 8}, {"F8_E4M3", UINT32_MAX, 1}, {"F8_E5M2", UINT32_MAX, 1},
    {"F8_E8M0", UINT32_MAX, 1},
};

size_t st_dtype(const char *name, uint32_t *dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(name, dtypes[i].name) != 0) continue;
        *dtype = dtypes[i].dtype;
        return dtypes[i].size;
    }
    return 0;
}

typedef struct span { /* a tensor and where its data lies, before sorting */
    st_tensor t;
    uint64_t begin, end;
    size_t order; /* in the header, so that sorting is stable */
} span;

typedef struct parse {
    st_set *set;
    json_reader r;
    const char *path;
    const char *data; /* first byte after the header */
    uint64_t data_len;
    span *spans;
    size_t n, cap;
} parse;

/* Error about the tensor at hand: "PATH: tensor "X": …". */
#define FAIL_TENSOR(p, name, ...)                                                                             \
    (FAIL(CO_E_FORMAT, __VA_ARGS__), error_prefix(CO_E_FORMAT, "%s: tensor \"%.200s\"", (p)->path, (name)))

static int expect(parse *p, int want, const char *what)
{
    int t = json_next(&p->r);
    if (t < 0) return t;
    if (t != want) return json_fail(&p->r, "%s is expected here", what);
    return CO_OK;
}

static int parse_dtype(parse *p, st_tensor *t)
{
    int rc = expect(p, JSON_STRING, "the name of an element type");
    if (rc) return rc;
    if (st_dtype(p->r.str, &t->dtype) == 0)
        return FAIL_TENSOR(p, t->name, "unknown element type \"%.40s\"", p->r.str);
    memcpy(t->dtype_name, p->r.str, p->r.str_len + 1); /* at most 7 characters: it is in the table */
    return CO_OK;
}

static int parse_shape(parse *p, st_tensor *t)
{
    int rc = expect(p, JSON_ARRAY, "a list of sizes");
    if (rc) return rc;
    for (t->ndim = 0;;) {
        int token = json_next(&p->r);
        if (token < 0) return token;
        if (token == JSON_ARRAY_END) return CO_OK;
        if (t->ndim == 8) return FAIL_TENSOR(p, t->name, "more than 8 dimensions");
        int64_t v;
        rc = json_int(&p->r, token, &v);
        if (rc) return rc;
        if (v < 0) return json_fail(&p->r, "tensor \"%.200s\": a size below zero", t->name);
        t->ne[t->ndim++] = v;
    }
}

static int parse_offsets(parse *p, span *s)
{
    uint64_t *out[2] = {&s->begin, &s->end};
    int rc = expect(p, JSON_ARRAY, "a pair of offsets");
    if (rc) return rc;
    for (int i = 0; i < 2; i++) {
        int64_t v;
        int token = json_next(&p->r);
        if (token < 0) return token;
        rc = json_int(&p->r, token, &v);
        if (rc) return rc;
        if (v < 0) return json_fail(&p->r, "tensor \"%.200s\": an offset below zero", s->t.name);
        *out[i] = (uint64_t)v;
    }
    return expect(p, JSON_ARRAY_END, "the end of a pair of offsets");
}

/* Elements times their size, against what the offsets say. */
static int check_size(parse *p, span *s)
{
    uint32_t dtype;
    uint64_t bytes = st_dtype(s->t.dtype_name, &dtype);
    int overflow = 0, empty = 0;
    for (uint32_t i = 0; i < s->t.ndim; i++) {
        overflow |= __builtin_mul_overflow(bytes, (uint64_t)s->t.ne[i], &bytes);
        empty |= s->t.ne[i] == 0;
    }
    if (empty) bytes = 0;
    else if (overflow) return FAIL_TENSOR(p, s->t.name, "its shape overflows 64 bits");
    if (s->begin > s->end)
        return FAIL_TENSOR(p, s->t.name, "data starts at byte %llu and ends before it, at %llu",
                           (unsigned long long)s->begin, (unsigned long long)s->end);
    if (s->end > p->data_len)
        return FAIL_TENSOR(p, s->t.name, "data ends at byte %llu, but the file holds %llu bytes of data; is it cut short?",
                           (unsigned long long)s->end, (unsigned long long)p->data_len);
    if (s->end - s->begin != bytes)
        return FAIL_TENSOR(p, s->t.name, "offsets span %llu bytes, its shape needs %llu (%s)",
                           (unsigned long long)(s->end - s->begin), (unsigned long long)bytes, s->t.dtype_name);
    s->t.bytes = (size_t)bytes;
    s->t.data = p->data + s->begin;
    return CO_OK;
}

static int parse_tensor(parse *p)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4 };
    static const char *const keys[] = {"dtype", "shape", "data_offsets"};
    span s = {.order = p->n};
    unsigned seen = 0;
    s.t.file = p->path;
    s.t.name = arena_strndup(p->set->names, p->r.str, p->r.str_len);
    if (!s.t.name) return CO_E_NOMEM;
    int rc = expect(p, JSON_OBJECT, "an object with dtype, shape and data_offsets");
    if (rc) return rc;
    for (;;) {
        int token = json_next(&p->r);
        if (token < 0) return token;
        if (token == JSON_OBJECT_END) break;
        unsigned key = 0;
        for (unsigned i = 0; i < 3; i++)
            if (strcmp(p->r.str, keys[i]) == 0) key = 1u << i;
        if (key & seen) return json_fail(&p->r, "tensor \"%.200s\": \"%s\" is given twice", s.t.name, p->r.str);
        seen |= key;
        if (key == DTYPE) rc = parse_dtype(p, &s.t);
        else if (key == SHAPE) rc = parse_shape(p, &s.t);
        else if (key == OFFSETS) rc = parse_offsets(p, &s);
        else {
            token = json_next(&p->r);
            rc = token < 0 ? token : json_skip(&p->r, token);
        }
        if (rc) return rc;
    }
    for (unsigned i = 0; i < 3; i++)
        if (!(seen >> i & 1u)) return FAIL_TENSOR(p, s.t.name, "\"%s\" is missing", keys[i]);
    rc = check_size(p, &s);
    if (rc) return rc;
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 64;
        span *grown = mem_grow(p->spans, p->cap, cap, sizeof *grown);
        if (!grown) return CO_E_NOMEM;
        p->spans = grown;
        p->cap = cap;
    }
    p->spans[p->n++] = s;
    return CO_OK;
}

/* __metadata__: an object of strings. */
static int parse_meta(parse *p, int keep)
{
    int rc = expect(p, JSON_OBJECT, "an object of strings");
    if (rc) return rc;
    for (;;) {
        int token = json_next(&p->r);
        if (token < 0) return token;
        if (token == JSON_OBJECT_END) return CO_OK;
        const char *key = arena_strndup(p->set->names, p->r.str, p->r.str_len);
        if (!key) return CO_E_NOMEM;
        rc = expect(p, JSON_STRING, "a string (__metadata__ holds only strings)");
        if (rc) return rc;
        if (!keep) continue;
        st_meta *grown = mem_grow(p->set->meta, p->set->n_meta, p->set->n_meta + 1, sizeof *grown);
        if (!grown) return CO_E_NOMEM;
        p->set->meta = grown;
        grown[p->set->n_meta].key = key;
        grown[p->set->n_meta].value = arena_strndup(p->set->names, p->r.str, p->r.str_len);
        if (!grown[p->set->n_meta].value) return CO_E_NOMEM;
        p->set->n_meta++;
    }
}

static int by_offset(const void *a, const void *b)
{
    const span *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* Data must cover the file without overlap or hole, as the format's reference reader demands. */
static int check_cover(parse *p)
{
    uint64_t at = 0;
    if (p->n) qsort(p->spans, p->n, sizeof *p->spans, by_offset);
    for (size_t i = 0; i < p->n; i++) {
        const span *s = &p->spans[i];
        if (s->begin < at)
            return FAIL_TENSOR(p, s->t.name, "data at byte %llu overlaps tensor \"%.200s\", which ends at %llu",
                               (unsigned long long)s->begin, p->spans[i - 1].t.name, (unsigned long long)at);
        if (s->begin > at)
            return FAIL_TENSOR(p, s->t.name, "bytes %llu to %llu before it belong to no tensor",
                               (unsigned long long)at, (unsigned long long)s->begin);
        at = s->end;
    }
    if (at != p->data_len)
        return FAIL(CO_E_FORMAT, "%s: the last tensor ends at data byte %llu, but %llu bytes of data are there",
                    p->path, (unsigned long long)at, (unsigned long long)p->data_len);
    return CO_OK;
}

static int parse_object(parse *p, int keep_meta)
{
    int rc = expect(p, JSON_OBJECT, "'{'"), meta_seen = 0;
    if (rc) return rc;
    for (;;) {
        int token = json_next(&p->r);
        if (token < 0) return token;
        if (token == JSON_OBJECT_END) break;
        if (strcmp(p->r.str, "__metadata__") != 0) rc = parse_tensor(p);
        else if (meta_seen++) rc = json_fail(&p->r, "__metadata__ is given twice");
        else rc = parse_meta(p, keep_meta);
        if (rc) return rc;
    }
    return json_next(&p->r); /* JSON_END, or an error */
}

int st_parse_header(st_set *set, const char *path, const void *map, size_t len, int keep_meta)
{
    const unsigned char *bytes = map;
    uint64_t header = 0;
    parse p = {.set = set, .path = path};
    if (len < 8)
        return FAIL(CO_E_FORMAT, "%s: %zu bytes are too few for a safetensors file; is it cut short?", path, len);
    for (int i = 7; i >= 0; i--) header = header << 8 | bytes[i];
    if (header > ST_MAX_HEADER)
        return FAIL(CO_E_FORMAT, "%s: claims a header of %llu bytes, more than the format's 100000000: not a safetensors file, or damaged",
                    path, (unsigned long long)header);
    if (header > len - 8)
        return FAIL(CO_E_FORMAT, "%s: claims a header of %llu bytes, but the file has %zu after byte 8; is it cut short?",
                    path, (unsigned long long)header, len - 8);
    if (header == 0 || bytes[8] != '{')
        return FAIL(CO_E_FORMAT, "%s: byte 8 does not start a JSON object: not a safetensors file, or damaged", path);
    char *name = mem_printf("%s: header", path);
    if (!name) return CO_E_NOMEM;
    p.data = (const char *)map + 8 + header;
    p.data_len = len - 8 - header;
    json_init(&p.r, name, (const char *)map + 8, (size_t)header);
    int rc = parse_object(&p, keep_meta);
    if (rc) goto done;
    rc = check_cover(&p);
    if (rc) goto done;
    if (p.n == 0) goto done;
    st_tensor *grown = mem_grow(set->tensors, set->n, set->n + p.n, sizeof *grown);
    if (!grown) {
        rc = CO_E_NOMEM;
        goto done;
    }
    set->tensors = grown;
    for (size_t i = 0; i < p.n; i++) grown[set->n + i] = p.spans[i].t;
    set->n += p.n;
done:
    json_close(&p.r);
    mem_free(p.spans);
    mem_free(name);
    return rc;
}
