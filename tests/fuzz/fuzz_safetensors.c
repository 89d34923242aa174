/* fuzz_safetensors.c: a header that is accepted must describe exactly the bytes that are there, and every element it
 * promises must be readable. The same bytes then pose as config.json. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "core/params/hf_config.h"
#include "core/params/st_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds)
{
    if (!holds) __builtin_trap();
}

static void check_set(const st_set *s, const uint8_t *data, size_t size)
{
    size_t bytes = 0;
    for (size_t i = 0; i < st_count(s); i++) {
        const st_tensor *t = st_at(s, i);
        uint32_t dtype;
        size_t element = st_dtype(t->dtype_name, &dtype);
        const uint8_t *from = t->data;
        demand(element > 0 && t->bytes % element == 0);
        demand(from >= data && from <= data + size && t->bytes <= (size_t)(data + size - from));
        demand(st_find(s, t->name) == t);
        bytes += t->bytes;
        if (t->dtype == UINT32_MAX || t->bytes == 0) continue;
        float v;
        int64_t n = (int64_t)(t->bytes / element);
        int floats = t->dtype == CO_F32 || t->dtype == CO_BF16 || t->dtype == CO_F16 || t->dtype == CO_F64;
        demand((st_read_f32(t, 0, 1, &v) == CO_OK) == floats);
        demand((st_read_f32(t, n - 1, 1, &v) == CO_OK) == floats);
        demand(st_read_f32(t, n, 1, &v) != CO_OK);
    }
    size_t header = 0;
    for (int i = 7; i >= 0; i--) header = header << 8 | data[i];
    demand(8 + header + bytes == size);
}

static void check_config(const uint8_t *data, size_t size)
{
    hf_config *c = NULL;
    int64_t i;
    double f;
    const char *s;
    if (hf_config_parse((const char *)data, size, "config.json", &c) != CO_OK) return;
    const co_meta *m = hf_config_meta(c);
    (void)hf_config_model_type(c);
    demand(m->i64(m, "a", &i) != CO_OK || (i >= -((int64_t)1 << 53) && i <= (int64_t)1 << 53));
    (void)m->f64(m, "a.b", &f);
    (void)m->str(m, "a", &s);
    hf_config_close(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    st_set *s = st_set_new();
    if (!s) return 0;
    if (st_parse_header(s, "fuzz", data, size, 1) == CO_OK && st_set_finish(s) == CO_OK) check_set(s, data, size);
    st_close(s);
    if (size >= 8) check_config(data + 8, size - 8);
    return 0;
}
