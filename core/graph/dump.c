/* dump.c: plans as text, a line an op: out = op(in …) with shapes and places. */
#include "core/graph/engine_impl.h"
#include <inttypes.h>

static const char *const region_name[CO_REGION_COUNT] = {"work", "saved", "param", "grad",  "batch", "x",
                                                         "y",    "dx",    "dy",    "cache", "out",   "scratch"};

static const char *const dtype_name[] = {"f32", "bf16", "f16", "i32", "u8", "i64", "f64"};

static void value(FILE *to, const co_plan *p, uint32_t v)
{
    if (v == CO_NONE) {
        fputs(" -", to);
        return;
    }
    const co_plan_value *x = &p->values[v];
    fprintf(to, " %%%u:%s", v, region_name[x->region]);
    if (x->slot != CO_NONE) fprintf(to, "[%u]", x->slot);
    else fprintf(to, "+%zu", x->offset);
    fprintf(to, "[%" PRId64, x->shape.ne[0]);
    if (x->shape.ndim > 1) fprintf(to, ",%" PRId64, x->shape.ne[1]);
    if (x->shape.ndim > 1 && x->shape.row_stride != x->shape.ne[1]) fprintf(to, " stride %" PRId64, x->shape.row_stride);
    fputc(']', to);
    if (x->shape.dtype != CO_F32) fputs(dtype_name[x->shape.dtype], to);
}

static void plan(FILE *to, const co_plan *p)
{
    if (!p->n_steps) return;
    fprintf(to, "%s: work %zu, saved %zu bytes\n", p->label, p->region_bytes[CO_REGION_WORK], p->region_bytes[CO_REGION_SAVED]);
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const co_step_op *s = &p->steps[i];
        fprintf(to, "  %-20s", op_name(s->op));
        for (uint32_t k = 0; k < s->n_in; k++) value(to, p, s->in[k]);
        fputs(" ->", to);
        for (uint32_t k = 0; k < s->n_out; k++) value(to, p, s->out[k]);
        fputc('\n', to);
    }
}

void engine_dump(const engine *e, FILE *to)
{
    for (int mode = 0; mode < MODE_COUNT; mode++)
        for (uint32_t k = 0; k < e->n_kinds && e->units[mode]; k++) {
            plan(to, &e->units[mode][k].plans.forward);
            plan(to, &e->units[mode][k].plans.backward);
        }
}
