/* meta.c: the footer: row groups and the places of their column chunks. */
#include "file.h"

#include <string.h>

static uint32_t le32(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

/* The footer's bytes, [body, len - 8). */
static int find_footer(pq_file *f, pq_fault *fault)
{
    const uint8_t *tail;
    uint32_t n;
    if (f->len >= 4 && !memcmp(f->data, "PARE", 4))
        return pq_fail(fault, CO_E_FORMAT, "is encrypted, footer included; encrypted Parquet files are not read");
    if (f->len < 12 || memcmp(f->data, "PAR1", 4))
        return pq_fail(fault, CO_E_FORMAT, "is no Parquet file: expected 'PAR1' at its start and at least 12 bytes");
    tail = f->data + f->len - 8;
    if (memcmp(tail + 4, "PAR1", 4))
        return pq_fail(fault, CO_E_FORMAT, "expected 'PAR1' at its end (byte %zu); it is cut short or not wholly written", f->len - 4);
    n = le32(tail);
    if (n > f->len - 12) return pq_fail(fault, CO_E_FORMAT, "claims a footer of %u bytes, more than the file holds", n);
    f->body = f->len - 8 - n;
    return CO_OK;
}

typedef struct column_meta {
    int has_meta, has_dictionary, type, codec;
    int64_t n_values, compressed, data_at, dictionary_at;
} column_meta;

static void read_column_meta(pq_thrift *t, column_meta *m)
{
    pq_tfield f = { 0 };
    while (pq_thrift_next(t, &f)) {
        switch (f.id) {
        case 1: m->type = pq_thrift_i32(t, &f); break;
        case 4: m->codec = pq_thrift_i32(t, &f); break;
        case 5: m->n_values = pq_thrift_i64(t, &f); break;
        case 7: m->compressed = pq_thrift_i64(t, &f); break;
        case 9: m->data_at = pq_thrift_i64(t, &f); break;
        case 11:
            m->dictionary_at = pq_thrift_i64(t, &f);
            m->has_dictionary = 1;
            break;
        default: pq_thrift_skip(t, f.type);
        }
    }
}

static int place_chunk(const pq_file *f, const column_meta *m, pq_chunk *c, pq_fault *fault)
{
    static const char *const codecs[] = { "none", "snappy", "gzip", "LZO", "brotli", "LZ4", "zstd", "LZ4_RAW" };
    if (m->codec < 0 || m->codec > PQ_LZ4_RAW) return pq_fail(fault, CO_E_FORMAT, "compressed with the unknown codec %d", m->codec);
    if (m->codec == PQ_LZO)
        return pq_fail(fault, CO_E_FORMAT, "compressed with %s, which is not read; write the file with zstd or snappy", codecs[m->codec]);
    if (m->n_values < 0) return pq_fail(fault, CO_E_FORMAT, "claims %lld values", (long long)m->n_values);
    c->at = m->data_at;
    if (m->has_dictionary && m->dictionary_at > 0 && m->dictionary_at < c->at) c->at = m->dictionary_at;
    c->n_values = m->n_values;
    c->codec = m->codec;
    if (!c->n_values) return CO_OK; /* no page is looked for */
    if (c->at < 4 || (uint64_t)c->at >= f->body)
        return pq_fail(fault, CO_E_FORMAT, "its pages are said to begin at byte %lld of %zu", (long long)c->at, f->body);
    if (m->compressed < 0 || (uint64_t)m->compressed > f->body - (uint64_t)c->at)
        return pq_fail(fault, CO_E_FORMAT, "its %lld bytes from byte %lld on reach beyond the file's data (%zu)",
                       (long long)m->compressed, (long long)c->at, f->body);
    /* Some old writers leave the dictionary's header out of the sum. */
    c->end = c->at + m->compressed + 100;
    if ((uint64_t)c->end > f->body) c->end = (int64_t)f->body;
    return CO_OK;
}

static int read_chunk(const pq_file *f, pq_thrift *t, uint32_t leaf, pq_chunk *c, pq_fault *fault)
{
    const pq_node *n = &f->schema.nodes[f->schema.leaf_node[leaf]];
    column_meta m = { .type = -1 };
    pq_tfield fd = { 0 };
    int elsewhere = 0, encrypted = 0;
    size_t len;
    while (pq_thrift_next(t, &fd)) {
        switch (fd.id) {
        case 1:
            (void)pq_thrift_binary(t, &fd, &len);
            elsewhere = len > 0;
            break;
        case 3:
            if (!pq_thrift_struct(t, &fd)) break;
            read_column_meta(t, &m);
            m.has_meta = 1;
            break;
        case 4: c->index_at = pq_thrift_i64(t, &fd); break;
        case 5: c->index_len = pq_thrift_i32(t, &fd); break;
        case 8:
        case 9:
            encrypted = 1;
            pq_thrift_skip(t, fd.type);
            break;
        default: pq_thrift_skip(t, fd.type);
        }
    }
    if (t->bad) return pq_fail(fault, CO_E_FORMAT, "the footer is damaged: %s", t->bad);
    pq_schema_path(&f->schema, f->schema.leaf_node[leaf], fault->column, sizeof fault->column);
    if (encrypted) return pq_fail(fault, CO_E_FORMAT, "is encrypted; encrypted Parquet files are not read");
    if (elsewhere) return pq_fail(fault, CO_E_FORMAT, "lies in another file, which is not read; write all columns into one file");
    if (!m.has_meta) return pq_fail(fault, CO_E_FORMAT, "the footer does not say where it lies");
    if (m.type != n->type)
        return pq_fail(fault, CO_E_FORMAT, "is %s in the schema and type %d in the row group", pq_type_name(n->type), m.type);
    return place_chunk(f, &m, c, fault);
}

static int read_group(pq_file *f, pq_thrift *t, uint32_t g, pq_fault *fault)
{
    const uint32_t n_leaves = f->schema.n_leaves;
    pq_tfield fd = { 0 };
    uint32_t n = 0;
    int rc;
    fault->row_group = (int)g;
    while (pq_thrift_next(t, &fd)) {
        switch (fd.id) {
        case 1:
            n = pq_thrift_list(t, &fd, PQ_T_STRUCT);
            if (t->bad) break;
            if (n != n_leaves) return pq_fail(fault, CO_E_FORMAT, "expected %u columns, found %u", n_leaves, n);
            for (uint32_t i = 0; i < n; i++) {
                rc = read_chunk(f, t, i, &f->chunk[(size_t)g * n_leaves + i], fault);
                if (rc) return rc;
            }
            fault->column[0] = 0;
            break;
        case 3: f->group[g].n_rows = pq_thrift_i64(t, &fd); break;
        default: pq_thrift_skip(t, fd.type);
        }
    }
    if (t->bad) return pq_fail(fault, CO_E_FORMAT, "the footer is damaged: %s", t->bad);
    if (n != n_leaves) return pq_fail(fault, CO_E_FORMAT, "expected %u columns, found none", n_leaves);
    if (f->group[g].n_rows < 0 || f->group[g].n_rows > INT64_MAX - f->n_rows)
        return pq_fail(fault, CO_E_FORMAT, "claims %lld rows", (long long)f->group[g].n_rows);
    for (uint32_t i = 0; i < n_leaves; i++) {
        const uint32_t node = f->schema.leaf_node[i];
        const int64_t values = f->chunk[(size_t)g * n_leaves + i].n_values;
        if (f->schema.nodes[node].max_rep ? values >= f->group[g].n_rows : values == f->group[g].n_rows) continue;
        pq_schema_path(&f->schema, node, fault->column, sizeof fault->column);
        return pq_fail(fault, CO_E_FORMAT, "expected %lld values, one for each row, found %lld", (long long)f->group[g].n_rows,
                       (long long)values);
    }
    f->group[g].first_row = f->n_rows;
    f->n_rows += f->group[g].n_rows;
    fault->row_group = -1;
    return CO_OK;
}

static int read_groups(pq_file *f, pq_thrift *t, const pq_tfield *fd, pq_fault *fault)
{
    int rc = CO_OK;
    f->n_groups = pq_thrift_list(t, fd, PQ_T_STRUCT);
    if (t->bad) return pq_fail(fault, CO_E_FORMAT, "the footer is damaged: %s", t->bad);
    if (!f->n_groups) return CO_OK;
    /* a chunk takes a byte at least, so that this is bounded by the footer's own length */
    if ((uint64_t)f->n_groups * f->schema.n_leaves > (uint64_t)(t->end - t->at))
        return pq_fail(fault, CO_E_FORMAT, "claims %u row groups, more than its footer can hold", f->n_groups);
    f->group = f->host->alloc(f->host, f->n_groups * sizeof *f->group, 16);
    f->chunk = f->host->alloc(f->host, (size_t)f->n_groups * f->schema.n_leaves * sizeof *f->chunk, 16);
    if (!f->group || !f->chunk) return pq_fail(fault, CO_E_NOMEM, "no memory for an index of %u row groups", f->n_groups);
    for (uint32_t g = 0; g < f->n_groups && !rc; g++) rc = read_group(f, t, g, fault);
    return rc;
}

int pq_meta_read(pq_file *f, pq_fault *fault)
{
    pq_thrift t, schema = { 0 }, groups = { 0 };
    pq_tfield fd = { 0 }, schema_field = { 0 }, groups_field = { 0 };
    int64_t n_rows = -1;
    int rc = find_footer(f, fault);
    if (rc) return rc;
    t = (pq_thrift){ f->data + f->body, f->data + f->len - 8, NULL };
    while (pq_thrift_next(&t, &fd)) {
        switch (fd.id) {
        case 2:
            schema = t;
            schema_field = fd;
            pq_thrift_skip(&t, fd.type);
            break;
        case 3: n_rows = pq_thrift_i64(&t, &fd); break;
        case 4:
            groups = t;
            groups_field = fd;
            pq_thrift_skip(&t, fd.type);
            break;
        case 8: return pq_fail(fault, CO_E_FORMAT, "has encrypted columns; encrypted Parquet files are not read");
        default: pq_thrift_skip(&t, fd.type);
        }
    }
    if (t.bad) return pq_fail(fault, CO_E_FORMAT, "the footer is damaged: %s", t.bad);
    if (!schema.at || !groups.at || n_rows < 0) return pq_fail(fault, CO_E_FORMAT, "the footer lacks the schema, the row groups or their rows");
    rc = pq_schema_read(f->host, &schema, &schema_field, &f->schema, fault);
    if (!rc) rc = read_groups(f, &groups, &groups_field, fault);
    if (!rc && n_rows && f->n_rows != n_rows) /* one writer leaves 0 */
        rc = pq_fail(fault, CO_E_FORMAT, "claims %lld rows, its row groups have %lld", (long long)n_rows, (long long)f->n_rows);
    return rc;
}
