#include "record.h"
#include "scalar.h"
#include "text.h"

#include <string.h>

typedef struct builder {
    const pq_schema *s;
    pq_cursor *cursors; /* of the column's leaves, first_leaf the first */
    uint32_t first_leaf;
    pq_text text;
    pq_fault *fault;
} builder;

static pq_cursor *first_cursor(builder *b, const pq_node *n) { return &b->cursors[n->leaf - b->first_leaf]; }

static int damaged(builder *b, const pq_node *n, const char *what)
{
    pq_schema_path(b->s, (uint32_t)(n - b->s->nodes), b->fault->column, sizeof b->fault->column);
    return pq_fail(b->fault, CO_E_FORMAT, "%s", what);
}

/* Bytes as text: what is annotated as text has to be UTF-8; other bytes are text if they look it. */
static int add_bytes(builder *b, const pq_node *n, pq_value v, int quoted)
{
    const size_t good = pq_utf8_valid(v.at, v.len);
    pq_text esc = { .host = b->text.host, .arena = b->text.arena, .fault = b->fault };
    int rc;
    if (good == v.len) return quoted ? pq_text_quoted(&b->text, v.at, v.len) : pq_text_add(&b->text, v.at, v.len);
    if (n->means == PQ_TEXT) return pq_fail(b->fault, CO_E_FORMAT, "expected UTF-8, found byte 0x%02x at byte %zu of the value", v.at[good], good);
    rc = pq_text_escaped(quoted ? &esc : &b->text, v.at, v.len);
    return rc || !quoted ? rc : pq_text_quoted(&b->text, esc.at, esc.n);
}

/* A leaf's value; as_key: in quotes whatever it is. */
static int add_value(builder *b, const pq_node *n, pq_value v, int as_key)
{
    char scalar[PQ_SCALAR_MAX];
    pq_form form;
    int rc;
    if (pq_is_bytes(n)) return add_bytes(b, n, v, 1);
    rc = pq_scalar(n, v, scalar, &form, b->fault);
    if (rc) return rc;
    if (form == PQ_FORM_TEXT || as_key) return pq_text_quoted(&b->text, scalar, strlen(scalar));
    return pq_text_add(&b->text, scalar, strlen(scalar));
}

static int emit(builder *b, uint32_t i);

/* Every column below n has an entry here, and they agree on whether n is there and, behind the first element of a repeated
 * one (again), on whether another follows. *present, *more: what they agree on. */
static int agree(builder *b, const pq_node *n, int again, int *present, int *more)
{
    for (uint32_t k = 0; k < n->n_leaves; k++) {
        pq_cursor *c = first_cursor(b, n) + k;
        int m, p = 0;
        const int rc = pq_cursor_peek(c, &m, b->fault);
        if (rc) return rc;
        if (again) m = m && pq_cursor_rep(c) == n->max_rep;
        else if (!m) return damaged(b, n, "the row has fewer values in one of its columns than in another");
        if (m) p = pq_cursor_def(c) >= n->max_def;
        if (k && (m != *more || p != *present)) return damaged(b, n, "its columns do not agree on what is missing");
        *more = m;
        *present = p;
    }
    return CO_OK;
}

static void take_all(builder *b, const pq_node *n)
{
    pq_value v;
    for (uint32_t k = 0; k < n->n_leaves; k++) pq_cursor_take(first_cursor(b, n) + k, &v);
}

static int emit_value(builder *b, uint32_t i);

/* key and value of a map's entry */
static int emit_entry(builder *b, uint32_t i)
{
    const pq_node *key = &b->s->nodes[i + 1];
    pq_cursor *c = first_cursor(b, key);
    int present, more, rc = agree(b, key, 0, &present, &more);
    pq_value v;
    if (rc) return rc;
    pq_cursor_take(c, &v);
    rc = present ? add_value(b, key, v, 1) : pq_text_add(&b->text, "\"null\"", 6);
    if (!rc) rc = pq_text_char(&b->text, ':');
    if (rc) return rc;
    return emit(b, key->end);
}

enum { WHOLE, ELEMENT, ENTRY }; /* what is written for each repetition */

static int emit_repeated(builder *b, uint32_t i, int form)
{
    const pq_node *n = &b->s->nodes[i];
    int present, more, rc = agree(b, n, 0, &present, &more);
    if (!rc) rc = pq_text_char(&b->text, form == ENTRY ? '{' : '[');
    if (!rc && !present) {
        take_all(b, n);
        more = 0;
    }
    for (int first = 1; !rc && more; first = 0) {
        if (!first) rc = pq_text_char(&b->text, ',');
        if (!rc && !present) rc = damaged(b, n, "an element of it is missing and there at once");
        if (!rc) rc = form == ENTRY ? emit_entry(b, i) : form == ELEMENT ? emit(b, i + 1) : emit_value(b, i);
        if (!rc) rc = agree(b, n, 1, &present, &more);
    }
    return rc ? rc : pq_text_char(&b->text, form == ENTRY ? '}' : ']');
}

/* n is there and one: its value */
static int emit_value(builder *b, uint32_t i)
{
    const pq_node *n = &b->s->nodes[i];
    pq_value v;
    int rc;
    if (n->type != PQ_GROUP) {
        pq_cursor_take(first_cursor(b, n), &v);
        return add_value(b, n, v, 0);
    }
    if (n->means == PQ_LIST) return emit_repeated(b, i + 1, n->bare_element ? WHOLE : ELEMENT);
    if (n->means == PQ_MAP) return emit_repeated(b, i + 1, ENTRY);
    rc = pq_text_char(&b->text, '{');
    for (uint32_t c = i + 1; c < n->end && !rc; c = b->s->nodes[c].end) {
        const char *name = b->s->nodes[c].name;
        if (c > i + 1) rc = pq_text_char(&b->text, ',');
        if (!rc) rc = pq_text_quoted(&b->text, name, strlen(name));
        if (!rc) rc = pq_text_char(&b->text, ':');
        if (!rc) rc = emit(b, c);
    }
    return rc ? rc : pq_text_char(&b->text, '}');
}

static int emit(builder *b, uint32_t i)
{
    const pq_node *n = &b->s->nodes[i];
    int present, more, rc;
    if (n->repetition == PQ_REPEATED) return emit_repeated(b, i, WHOLE);
    rc = agree(b, n, 0, &present, &more);
    if (rc || present) return rc ? rc : emit_value(b, i);
    take_all(b, n);
    return pq_text_add(&b->text, "null", 4);
}

static int read_nested(const pq_file *f, pq_reader *r, uint32_t group, int64_t row, uint32_t node, co_arena *a, co_field *out, pq_fault *fault)
{
    const pq_node *n = &f->schema.nodes[node];
    builder b = { .s = &f->schema, .cursors = r->cursors + n->leaf, .first_leaf = n->leaf, .fault = fault,
                  .text = { .host = f->host, .arena = a, .fault = fault } };
    size_t memory = 0;
    uint32_t opened = 0;
    int rc = CO_OK, more;
    for (; opened < n->n_leaves && !rc; opened++) {
        pq_cursor *c = &b.cursors[opened];
        pq_schema_path(b.s, b.s->leaf_node[n->leaf + opened], fault->column, sizeof fault->column);
        rc = pq_cursor_open(c, f, group, n->leaf + opened, row, fault);
        if (rc) continue;
        memory += c->page->memory + (c->dictionary ? c->dictionary->memory : 0);
        if (memory > 2 * PQ_PAGE_BUDGET)
            rc = pq_fail(fault, CO_E_FORMAT, "the pages of one value take more than %zu MiB; write the file with smaller pages", 2 * PQ_PAGE_BUDGET >> 20);
    }
    if (!rc) {
        fault->column[0] = 0;
        rc = emit(&b, node);
    }
    for (uint32_t k = 0; k < n->n_leaves && !rc; k++) {
        rc = pq_cursor_peek(&b.cursors[k], &more, fault);
        if (!rc && more) rc = damaged(&b, n, "the row has more values in one of its columns than in another");
    }
    if (rc && fault->page_at < 0 && b.cursors[0].page) fault->page_at = b.cursors[0].pages->slot[b.cursors[0].slot].at;
    while (opened) pq_cursor_close(&b.cursors[--opened]);
    out->type = CO_FIELD_JSON;
    out->data = b.text.at;
    out->len = b.text.n;
    return rc;
}

static size_t memory_of(const pq_cursor *c)
{
    return (c->page ? c->page->memory : 0) + (c->dictionary ? c->dictionary->memory : 0);
}

/* The common case, text, without a detour: copied as it is. 0: it is not UTF-8 throughout. */
static int copy_text(const co_host *h, co_arena *a, pq_value v, co_field *out, pq_fault *fault)
{
    char *text = h->arena_push(a, (size_t)v.len + 1, 1);
    if (!text) {
        pq_fail(fault, CO_E_NOMEM, "no memory for a value of %u bytes", v.len);
        return 0;
    }
    if (v.len) memcpy(text, v.at, v.len);
    text[v.len] = 0;
    out->type = CO_FIELD_STR;
    out->data = text;
    out->len = v.len;
    return pq_utf8_valid((const uint8_t *)text, v.len) == v.len; /* of the copy: that is at hand */
}

static int other_value(const pq_file *f, const pq_node *n, int missing, pq_value v, co_arena *a, co_field *out, pq_fault *fault)
{
    builder b = { .s = &f->schema, .fault = fault, .text = { .host = f->host, .arena = a, .fault = fault } };
    char scalar[PQ_SCALAR_MAX];
    pq_form form = PQ_FORM_TEXT;
    int rc;
    if (missing) {
        form = PQ_FORM_JSON;
        rc = pq_text_add(&b.text, "null", 4);
    } else if (pq_is_bytes(n)) {
        rc = add_bytes(&b, n, v, 0);
    } else {
        rc = pq_scalar(n, v, scalar, &form, fault);
        if (!rc) rc = pq_text_add(&b.text, scalar, strlen(scalar));
    }
    out->type = form == PQ_FORM_TEXT ? CO_FIELD_STR : CO_FIELD_JSON;
    out->data = b.text.at;
    out->len = b.text.n;
    return rc;
}

static int read_flat(const pq_file *f, pq_reader *r, uint32_t group, int64_t row, const pq_node *n, co_arena *a, co_field *out, pq_fault *fault)
{
    pq_cursor *c = &r->cursors[n->leaf];
    const size_t before = memory_of(c);
    int rc = pq_cursor_seek(c, f, group, n->leaf, row, fault);
    if (!rc) {
        const int missing = pq_cursor_def(c) < n->max_def;
        pq_value v;
        pq_cursor_take(c, &v);
        if (missing || !pq_is_bytes(n) || !copy_text(f->host, a, v, out, fault))
            rc = fault->code ? fault->code : other_value(f, n, missing, v, a, out, fault);
    }
    if (rc && fault->page_at < 0 && c->page) fault->page_at = c->pages->slot[c->slot].at;
    r->held += memory_of(c) - before;
    if (rc || r->held > PQ_HOLD_BUDGET) {
        r->held -= memory_of(c);
        pq_cursor_close(c);
    }
    return rc;
}

int pq_record_field(const pq_file *f, pq_reader *r, uint32_t group, int64_t row, uint32_t column, co_arena *a, co_field *out, pq_fault *fault)
{
    const uint32_t node = f->schema.column[column];
    const pq_node *n = &f->schema.nodes[node];
    memset(out, 0, sizeof *out);
    out->name = n->name;
    if (n->type == PQ_GROUP || n->max_rep) return read_nested(f, r, group, row, node, a, out, fault);
    return read_flat(f, r, group, row, n, a, out, fault);
}
