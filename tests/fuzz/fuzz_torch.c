/* fuzz_torch.c: whatever poses as PyTorch's file: a tensor that comes out must lie within the file, and be as long as it says. */
#include <stdint.h>
#include "core/params/torch_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int holds)
{
    if (!holds) __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    st_set *s = st_set_new();
    if (!s) return 0;
    if (torch_parse(s, "fuzz", data, size) == CO_OK && st_set_finish(s) == CO_OK)
        for (size_t i = 0; i < st_count(s); i++) {
            const st_tensor *t = st_at(s, i);
            uint32_t dtype;
            const size_t element = st_dtype(t->dtype_name, &dtype);
            const uint8_t *from = t->data;
            uint64_t bytes = element;
            for (uint32_t k = 0; k < t->ndim; k++) bytes *= (uint64_t)t->ne[k];
            demand(element > 0 && t->bytes == bytes);
            demand(from >= data && from <= data + size && t->bytes <= (size_t)(data + size - from));
            demand(st_find(s, t->name) == t);
            volatile uint8_t sum = 0;
            for (size_t k = 0; k < t->bytes; k++) sum = (uint8_t)(sum + from[k]);
        }
    st_close(s);
    return 0;
}
