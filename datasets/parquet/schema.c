#include "schema.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

const char *pq_type_name(int type)
{
    static const char *const names[] = { "BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY",
                                         "FIXED_LEN_BYTE_ARRAY" };
    return type >= 0 && type <= PQ_FIXED ? names[type] : "a group";
}

void pq_schema_path(const pq_schema *s, uint32_t node, char *out, size_t cap)
{
    uint32_t chain[PQ_MAX_DEPTH + 2], n = 0;
    size_t used = 0;
    for (; node && n < PQ_MAX_DEPTH + 2; node = s->nodes[node].parent) chain[n++] = node;
    out[0] = 0;
    while (n && used < cap) {
        const int k = snprintf(out + used, cap - used, "%s%s", used ? "." : "", s->nodes[chain[--n]].name);
        used += k > 0 ? (size_t)k : 0;
    }
}

/* ConvertedType, the older annotation. */
static void read_converted(pq_node *n, int converted)
{
    static const uint8_t means[] = { PQ_TEXT, PQ_MAP, PQ_MAP, PQ_LIST, PQ_TEXT, PQ_DECIMAL, PQ_DATE, PQ_TIME, PQ_TIME,
                                     PQ_TIMESTAMP, PQ_TIMESTAMP, PQ_UINT, PQ_UINT, PQ_UINT, PQ_UINT, PQ_INT, PQ_INT,
                                     PQ_INT, PQ_INT, PQ_TEXT, PQ_RAW, PQ_INTERVAL };
    if (converted < 0 || converted >= (int)sizeof means) return;
    n->means = means[converted];
    if (n->means == PQ_TIME || n->means == PQ_TIMESTAMP) {
        n->unit = converted == 7 || converted == 9 ? PQ_MILLIS : PQ_MICROS;
        n->utc = 1;
    }
}

/* The one field of a union, or of the parameters below it. */
static void read_logical_params(pq_thrift *t, pq_node *n)
{
    pq_tfield f = { 0 };
    while (pq_thrift_next(t, &f)) {
        if (n->means == PQ_DECIMAL && f.id == 1) {
            n->scale = pq_thrift_i32(t, &f);
        } else if ((n->means == PQ_TIME || n->means == PQ_TIMESTAMP) && f.id == 1) {
            n->utc = (uint8_t)pq_thrift_bool(t, &f);
        } else if ((n->means == PQ_TIME || n->means == PQ_TIMESTAMP) && f.id == 2 && pq_thrift_struct(t, &f)) {
            pq_tfield u = { 0 };
            while (pq_thrift_next(t, &u)) {
                n->unit = (uint8_t)(u.id >= 1 && u.id <= 3 ? u.id - 1 : PQ_MICROS);
                pq_thrift_skip(t, u.type);
            }
        } else if (n->means == PQ_INT && f.id == 2) {
            if (!pq_thrift_bool(t, &f)) n->means = PQ_UINT;
        } else {
            pq_thrift_skip(t, f.type);
        }
    }
}

static void read_logical(pq_thrift *t, pq_node *n)
{
    static const uint8_t means[] = { PQ_RAW, PQ_TEXT, PQ_MAP, PQ_LIST, PQ_TEXT, PQ_DECIMAL, PQ_DATE, PQ_TIME, PQ_TIMESTAMP,
                                     PQ_RAW, PQ_INT, PQ_RAW, PQ_TEXT, PQ_RAW, PQ_UUID, PQ_FLOAT16 };
    pq_tfield f = { 0 };
    while (pq_thrift_next(t, &f)) {
        if (!pq_thrift_struct(t, &f)) return;
        n->means = f.id < (int)sizeof means ? means[f.id] : PQ_RAW; /* a newer one: the value as it is stored */
        read_logical_params(t, n);
    }
}

/* An annotation that does not fit the type it stands on would be a guess. */
static int check_means(const pq_schema *s, uint32_t i, pq_fault *fault)
{
    static const char *const names[] = { "none", "text", "DECIMAL", "DATE", "TIME", "TIMESTAMP", "INTEGER", "INTEGER", "UUID",
                                         "FLOAT16", "INTERVAL", "LIST", "MAP" };
    const pq_node *n = &s->nodes[i];
    int ok = 1;
    switch (n->means) {
    case PQ_TEXT: ok = n->type == PQ_BYTE_ARRAY || n->type == PQ_FIXED; break;
    case PQ_DECIMAL:
        ok = n->type == PQ_INT32 || n->type == PQ_INT64 || n->type == PQ_BYTE_ARRAY || n->type == PQ_FIXED;
        if (ok && (n->scale < 0 || n->scale > 255)) {
            pq_schema_path(s, i, fault->column, sizeof fault->column);
            return pq_fail(fault, CO_E_FORMAT, "expected a decimal of 0 to 255 digits behind the point, found %d", n->scale);
        }
        break;
    case PQ_DATE: ok = n->type == PQ_INT32; break;
    case PQ_TIME: ok = n->type == (n->unit == PQ_MILLIS ? PQ_INT32 : PQ_INT64); break;
    case PQ_TIMESTAMP: ok = n->type == PQ_INT64; break;
    case PQ_INT:
    case PQ_UINT: ok = n->type == PQ_INT32 || n->type == PQ_INT64; break;
    case PQ_UUID: ok = n->type == PQ_FIXED && n->width == 16; break;
    case PQ_FLOAT16: ok = n->type == PQ_FIXED && n->width == 2; break;
    case PQ_INTERVAL: ok = n->type == PQ_FIXED && n->width == 12; break;
    case PQ_LIST:
    case PQ_MAP: ok = n->type == PQ_GROUP; break;
    default: break;
    }
    if (ok) return CO_OK;
    pq_schema_path(s, i, fault->column, sizeof fault->column);
    return pq_fail(fault, CO_E_FORMAT, "%s does not go with %s", names[n->means], pq_type_name(n->type));
}

/* One SchemaElement; *children: -1 for a leaf. */
static int read_element(pq_thrift *t, pq_schema *s, uint32_t i, char **name_at, int64_t *children, pq_fault *fault)
{
    pq_node *n = &s->nodes[i];
    pq_tfield f = { 0 };
    int type = PQ_GROUP, converted = -1, width = 0, repetition = PQ_REQUIRED, has_logical = 0;
    size_t len = 0;
    const uint8_t *name = NULL;
    pq_node logical = { 0 };
    *children = -1;
    while (pq_thrift_next(t, &f)) {
        switch (f.id) {
        case 1: type = pq_thrift_i32(t, &f); break;
        case 2: width = pq_thrift_i32(t, &f); break;
        case 3: repetition = pq_thrift_i32(t, &f); break;
        case 4: name = pq_thrift_binary(t, &f, &len); break;
        case 5: *children = pq_thrift_i32(t, &f); break;
        case 6: converted = pq_thrift_i32(t, &f); break;
        case 7: n->scale = pq_thrift_i32(t, &f); break;
        case 10:
            if (!pq_thrift_struct(t, &f)) break;
            read_logical(t, &logical);
            has_logical = 1;
            break;
        default: pq_thrift_skip(t, f.type);
        }
    }
    if (t->bad) return pq_fail(fault, CO_E_FORMAT, "the schema is damaged: %s", t->bad);
    if (len && (memchr(name, 0, len) || pq_utf8_valid(name, len) < len))
        return pq_fail(fault, CO_E_FORMAT, "the schema has a name with a NUL in it, or that is no UTF-8");
    n->name = *name_at;
    if (len) memcpy(n->name, name, len);
    *name_at += len + 1;
    if (type != PQ_GROUP && (type < 0 || type > PQ_FIXED))
        return pq_fail(fault, CO_E_FORMAT, "column '%.60s' has the unknown physical type %d", n->name, type);
    if (repetition < PQ_REQUIRED || repetition > PQ_REPEATED)
        return pq_fail(fault, CO_E_FORMAT, "column '%.60s' has the unknown repetition %d", n->name, repetition);
    if (type == PQ_FIXED && (width < 1 || width > 1 << 20))
        return pq_fail(fault, CO_E_FORMAT, "column '%.60s': expected values of 1 to 1048576 bytes, found %d", n->name, width);
    if ((type == PQ_GROUP) != (*children > 0) && i)
        return pq_fail(fault, CO_E_FORMAT, "column '%.60s' is %s", n->name,
                       type == PQ_GROUP ? "a group without columns" : "a value and a group at once");
    n->type = (uint8_t)type;
    n->repetition = (uint8_t)repetition;
    n->width = width;
    read_converted(n, converted);
    if (has_logical) {
        if (logical.means == PQ_DECIMAL) n->scale = logical.scale;
        n->means = logical.means;
        n->unit = logical.unit;
        n->utc = logical.utc;
    }
    return CO_OK;
}

/* The rules of "backward compatibility" for lists: which repeated nodes are elements themselves. */
static void find_lists(pq_schema *s)
{
    for (uint32_t i = 1; i < s->n_nodes; i++) {
        pq_node *n = &s->nodes[i], *r = n + 1;
        char tuple[256];
        if (n->type != PQ_GROUP || (n->means != PQ_LIST && n->means != PQ_MAP)) continue;
        if (r->end != n->end || r->repetition != PQ_REPEATED) {
            n->means = PQ_RAW; /* not of the shape: a plain group */
            continue;
        }
        if (n->means == PQ_MAP) { /* key and value in a repeated group */
            if (r->type != PQ_GROUP || r[1].type == PQ_GROUP || r[1].repetition == PQ_REPEATED ||
                (r[1].end != r->end && (s->nodes[r[1].end].end != r->end || s->nodes[r[1].end].repetition == PQ_REPEATED)))
                n->means = PQ_RAW;
            else if (r[1].end == r->end) n->means = PQ_LIST; /* keys without values: a list of them, as the format says */
            continue;
        }
        snprintf(tuple, sizeof tuple, "%s_tuple", n->name);
        n->bare_element = r->type != PQ_GROUP || r[1].end != r->end || r[1].repetition == PQ_REPEATED ||
                          !strcmp(r->name, "array") || !strcmp(r->name, tuple);
    }
}

/* Links each node to its parent and gives it levels, columns and an end. */
static int link_nodes(pq_schema *s, const int64_t *children, int64_t *left, pq_fault *fault)
{
    uint32_t open[PQ_MAX_DEPTH + 2], depth = 0;
    for (uint32_t i = 0; i < s->n_nodes; i++) {
        pq_node *n = &s->nodes[i];
        if (i) {
            const pq_node *p;
            if (!depth) return pq_fail(fault, CO_E_FORMAT, "the schema has columns outside its root");
            p = &s->nodes[n->parent = open[depth - 1]];
            n->max_def = (uint8_t)(p->max_def + (n->repetition != PQ_REQUIRED));
            n->max_rep = (uint8_t)(p->max_rep + (n->repetition == PQ_REPEATED));
            left[depth - 1]--;
            s->n_columns += depth == 1;
        }
        n->leaf = s->n_leaves;
        if (children[i] > 0) {
            if (depth > PQ_MAX_DEPTH) return pq_fail(fault, CO_E_FORMAT, "expected at most %d levels of columns", PQ_MAX_DEPTH);
            open[depth] = i;
            left[depth++] = children[i];
        } else {
            n->end = i + 1;
            if (i) s->n_leaves++;
        }
        while (depth && !left[depth - 1]) s->nodes[open[--depth]].end = i + 1;
    }
    if (depth) return pq_fail(fault, CO_E_FORMAT, "the schema ends before the columns of '%.60s' do", s->nodes[open[depth - 1]].name);
    return CO_OK;
}

static int index_columns(const co_host *h, pq_schema *s, pq_fault *fault)
{
    uint32_t k = 0;
    if (!s->n_columns) return pq_fail(fault, CO_E_FORMAT, "the schema has no columns");
    if (s->n_columns > PQ_MAX_COLUMNS)
        return pq_fail(fault, CO_E_FORMAT, "expected at most %d columns, found %u", PQ_MAX_COLUMNS, s->n_columns);
    s->leaf_node = h->alloc(h, s->n_leaves * sizeof *s->leaf_node, 16);
    s->column = h->alloc(h, s->n_columns * sizeof *s->column, 16);
    if (!s->leaf_node || !s->column) return pq_fail(fault, CO_E_NOMEM, "no memory for the columns");
    for (uint32_t i = 1; i < s->n_nodes; i++) {
        pq_node *n = &s->nodes[i];
        n->n_leaves = (n->end < s->n_nodes ? s->nodes[n->end].leaf : s->n_leaves) - n->leaf;
        if (n->type != PQ_GROUP) s->leaf_node[n->leaf] = i;
    }
    for (uint32_t i = 1; i < s->n_nodes; i = s->nodes[i].end) {
        for (uint32_t c = 0; c < k; c++)
            if (!strcmp(s->nodes[s->column[c]].name, s->nodes[i].name))
                return pq_fail(fault, CO_E_FORMAT, "two columns are named '%.60s'", s->nodes[i].name);
        s->column[k++] = i;
    }
    return CO_OK;
}

int pq_schema_read(const co_host *h, pq_thrift *t, const pq_tfield *f, pq_schema *s, pq_fault *fault)
{
    int64_t *children, left[PQ_MAX_DEPTH + 2];
    size_t bytes = (size_t)(t->end - t->at);
    char *name_at;
    int rc = CO_OK;
    s->n_nodes = pq_thrift_list(t, f, PQ_T_STRUCT);
    if (!s->n_nodes) return pq_fail(fault, CO_E_FORMAT, "the schema is %s", t->bad ? t->bad : "empty");
    children = h->alloc(h, s->n_nodes * sizeof *children, 16);
    s->nodes = h->alloc(h, s->n_nodes * sizeof *s->nodes, 16);
    s->names = name_at = h->alloc(h, bytes + s->n_nodes, 1);
    if (!children || !s->nodes || !s->names) rc = pq_fail(fault, CO_E_NOMEM, "no memory for the schema");
    for (uint32_t i = 0; i < s->n_nodes && !rc; i++) rc = read_element(t, s, i, &name_at, &children[i], fault);
    if (!rc) rc = link_nodes(s, children, left, fault);
    h->free(h, children);
    if (rc) return rc;
    for (uint32_t i = 1; i < s->n_nodes && !rc; i++) rc = check_means(s, i, fault);
    if (rc) return rc;
    find_lists(s);
    return index_columns(h, s, fault);
}

void pq_schema_free(const co_host *h, pq_schema *s)
{
    h->free(h, s->nodes);
    h->free(h, s->names);
    h->free(h, s->leaf_node);
    h->free(h, s->column);
}
