/* fields.h: what every dataset plugin promises of a record's fields. */
#ifndef TESTS_FUZZ_FIELDS_H
#define TESTS_FUZZ_FIELDS_H
#include "fuzz.h"
#include "datasets/json/scan.h"

#include <coati/dataset.h>
#include <string.h>

static inline void check_fields(const co_field *f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        HOLDS(f[i].data[f[i].len] == 0);
        for (uint32_t k = 0; k < i; k++) HOLDS(strcmp(f[i].name, f[k].name));
        if (f[i].type == CO_FIELD_JSON) {
            json_cursor c = { (const uint8_t *)f[i].data, (const uint8_t *)f[i].data + f[i].len, NULL };
            HOLDS(f[i].len && f[i].data[0] != '"' && !json_check_text(&c));
        }
    }
}

static inline void check_same(const co_field *f, const co_field *again, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) HOLDS(f[k].type == again[k].type && f[k].len == again[k].len && !memcmp(f[k].data, again[k].data, f[k].len));
}
#endif
