#include <string.h>
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/rng.h"
#include "core/params/load.h"

int params_init_one(const param_table *t, uint32_t slot, uint64_t seed, float *buf, params_write_fn write, void *ctx)
{
    const co_param *d = param_decl(t, slot);
    int64_t total = param_elements(&t->slots[slot]);
    uint64_t key = (uint64_t)slot << 40; /* as RNG_INIT says */
    for (int64_t first = 0; first < total; first += PARAMS_PIECE) {
        int64_t n = total - first < PARAMS_PIECE ? total - first : PARAMS_PIECE;
        for (int64_t i = 0; i < n; i++)
            buf[i] = d->init == CO_INIT_ZERO  ? 0.0f
                     : d->init == CO_INIT_ONE ? 1.0f
                                              : (float)(d->init_std * rng_normal(seed, RNG_INIT, key + (uint64_t)(first + i)));
        int rc = write(ctx, slot, first, n, buf);
        if (rc) return rc;
    }
    return CO_OK;
}

int params_init(const param_table *t, uint64_t seed, params_write_fn write, void *ctx)
{
    float *buf = mem_alloc(PARAMS_PIECE * sizeof *buf, 64);
    if (!buf) return CO_E_NOMEM;
    int rc = CO_OK;
    for (uint32_t i = 0; i < t->n_params && rc == CO_OK; i++)
        if (t->slots[i].owner == i) rc = params_init_one(t, i, seed, buf, write, ctx);
    mem_free(buf);
    return rc;
}
