/* fuzz_parquet.c: any bytes as a Parquet file. Built for libFuzzer with -DCOATI_LIBFUZZER -fsanitize=fuzzer; otherwise a test of
 * its own with replay.c.
 *
 * Holds for every input: open, count and read return a known code; what is read is the same when read again and through a clone;
 * fields are as many as columns, with names of their own, NUL behind their data, and JSON where they say so; one that is broken
 * names its row. */
#include "fields.h"
#include "../data/fake_host.h"
#include "datasets/parquet/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 24 }; /* a file may claim millions */

static void check_row(void *self, void *clone, int64_t i, co_arena *a)
{
    co_field *f = NULL, *again = NULL;
    uint32_t n = 0, n_again = 0;
    char row[40];
    int rc;
    arena_reset(a);
    rc = pq_read(self, i, a, &f, &n);
    HOLDS(rc == CO_OK || rc == CO_E_FORMAT);
    snprintf(row, sizeof row, "file: row %lld: ", (long long)i + 1);
    if (rc) HOLDS(strstr(error_message(), row));
    else check_fields(f, n);
    HOLDS(pq_read(clone, i, a, &again, &n_again) == rc && n_again == n);
    check_same(f, again, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *self = NULL, *clone = NULL;
    co_arena *a = arena_new(1 << 14);
    int64_t n = -1;
    const int rc = pq_open_bytes(&fake_host, "file", data, size, 0, &self);
    HOLDS(rc == CO_OK || rc == CO_E_FORMAT);
    if (!rc) {
        HOLDS(pq_count(self, &n) == CO_OK && n >= 0 && pq_clone(self, &clone) == CO_OK);
        for (int64_t i = 0; i < n && i < MOST_ROWS; i++) check_row(self, clone, i, a);
        for (int64_t i = n - 1; i >= MOST_ROWS && i >= n - 4; i--) check_row(self, clone, i, a);
        pq_close(clone);
        pq_close(self);
    }
    arena_free(a);
    return 0;
}
