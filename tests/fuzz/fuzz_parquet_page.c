/* fuzz_parquet_page.c: any bytes as a page of a column. Built for libFuzzer with -DCOATI_LIBFUZZER -fsanitize=fuzzer; otherwise a
 * test of its own with replay.c.
 *
 * Input: 4 bytes (physical type; levels, definition in the low half; codec; values of the dictionary, 255: none), then header and
 * body. Holds: a page or a fault with a text; a page stays within its budget, its levels within theirs, and each of its values
 * can be touched. */
#include "fuzz.h"
#include "../data/fake_host.h"
#include "datasets/parquet/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_page(const pq_page *p, const pq_node *node, int64_t n_dictionary)
{
    volatile uint8_t touched = 0;
    uint32_t values = 0;
    HOLDS(p->memory <= PQ_PAGE_BUDGET && p->n_values <= p->n && p->n_rows <= p->n);
    for (uint32_t i = 0; i < p->n; i++) {
        if (p->rep) HOLDS(p->rep[i] <= node->max_rep);
        if (p->def) HOLDS(p->def[i] <= node->max_def && pq_page_rank(p, node->max_def, i) == values);
        values += !p->def || p->def[i] == node->max_def;
        if (i > 4096) return; /* a run may claim millions */
    }
    HOLDS(values == p->n_values);
    for (uint32_t i = 0; i < p->n_values; i++) {
        if (p->index) {
            HOLDS(p->index[i] < n_dictionary);
            continue;
        }
        const uint8_t *v = p->bytes + (p->span ? p->span[i].at : (size_t)i * p->width);
        const uint32_t len = p->span ? p->span[i].len : p->width;
        if (len) touched ^= v[0] ^ v[len - 1];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const pq_file file = { .host = &fake_host };
    pq_fault fault = { .row_group = -1, .page_at = -1 };
    pq_node node = { .width = 3 };
    pq_header h;
    pq_page *p;
    int64_t n_dictionary;
    int codec;
    if (size < 4) return 0;
    node.type = data[0] % 8;
    node.max_def = data[1] & 15;
    node.max_rep = data[1] >> 4;
    codec = data[2] % 8 == PQ_LZO ? PQ_UNCOMPRESSED : data[2] % 8;
    n_dictionary = data[3] == 255 ? -1 : data[3];
    if (pq_header_read(data + 4, data + size, &h, &fault)) {
        HOLDS(fault.code == CO_E_FORMAT && fault.what[0]);
        return 0;
    }
    if (h.type == PQ_INDEX_PAGE) return 0;
    p = pq_page_read(&file, &node, codec, &h, n_dictionary, NULL, &fault);
    if (!p) HOLDS(fault.code == CO_E_FORMAT && fault.what[0]);
    else check_page(p, &node, n_dictionary);
    pq_page_free(p);
    if (node.max_rep && h.type != PQ_DICTIONARY_PAGE) {
        uint32_t n_rows;
        int whole;
        HOLDS(pq_page_count(&file, &node, codec, &h, &n_rows, &whole, &fault) != CO_OK || n_rows <= h.n_values);
    }
    return 0;
}
