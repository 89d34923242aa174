/* product.c: the product speed a backend reaches at best: one LINEAR plan. */
#include "bench.h"
#include "core/base/memory.h"

struct product {
    int64_t side;
    const co_backend_vt *be;
    void *self, *mem, *compiled;
    co_plan_value values[3];
    uint32_t in[2], out[1];
    co_step_op op;
    co_plan plan;
};

/* A GPU needs a larger product to show its speed. */
int product_open(const co_backend_vt *be, void *self, co_dtype t, product **out)
{
    const int64_t n = be->flags & CO_BACKEND_ASYNC ? 8192 : 2048;
    const size_t bytes = (size_t)(n * n) * co_dtype_bytes(t);
    size_t scratch = 0;
    product *p = mem_alloc(sizeof *p, 16);
    if (!p) return CO_E_NOMEM;
    *p = (product){.side = n, .be = be, .self = self, .in = {0, 1}, .out = {2}};
    for (int i = 0; i < 3; i++)
        p->values[i] = (co_plan_value){.shape = {.ne = {n, n}, .ndim = 2, .row_stride = n, .dtype = t}, .region = CO_REGION_WORK,
                                       .slot = CO_NONE, .offset = (size_t)i * bytes};
    p->op = (co_step_op){.op = CO_OP_LINEAR, .n_in = 2, .n_out = 1, .in = p->in, .out = p->out};
    p->plan = (co_plan){.struct_size = sizeof p->plan, .n_steps = 1, .n_values = 3, .label = "product", .steps = &p->op, .values = p->values};
    int r = be->workspace(self, &p->plan, &scratch);
    if (r == CO_OK) r = be->alloc(self, CO_MEM_DEVICE, 3 * bytes + scratch, &p->mem);
    if (r == CO_OK) r = be->prepare(self, &p->plan, &p->compiled);
    if (r) product_close(p);
    else *out = p;
    return r;
}

int product_time(product *p, double *seconds)
{
    const co_live live = {.struct_size = sizeof live};
    co_binding b = {.struct_size = sizeof b, .host_live = &live};
    b.base[CO_REGION_WORK] = p->mem;
    b.base[CO_REGION_SCRATCH] = (char *)p->mem + 3 * p->values[1].offset;
    const double begin = bench_now();
    int r = p->be->run(p->self, p->compiled, &b, NULL);
    if (r == CO_OK) r = p->be->stream_sync(p->self, NULL);
    *seconds = bench_now() - begin;
    return r;
}

void product_close(product *p)
{
    if (!p) return;
    if (p->compiled) p->be->discard(p->self, p->compiled);
    if (p->mem) p->be->free(p->self, CO_MEM_DEVICE, p->mem);
    mem_free(p);
}

double product_flops(const product *p) { return 2.0 * (double)p->side * (double)p->side * (double)p->side; }
