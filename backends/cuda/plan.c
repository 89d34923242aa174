/* plan.c: what the GPU can run of a plan, its scratch, and the queueing of its lines. */
#include "plan.h"
#include "cuda.h"
#include "fuse.h"
#include <stdio.h>

typedef struct compiled {
    const co_plan *plan;
    uint32_t n;
    fused_line *lines;
} compiled;

static int refuse(char *why, size_t cap, const char *text)
{
    if (cap) snprintf(why, cap, "%s", text);
    return CO_E_UNSUPPORTED;
}

int plan_supports(void *self, const co_plan *p, uint32_t step, char *why, size_t cap)
{
    const co_step_op *s = &p->steps[step];
    if (s->op >= CO_OP_COUNT || !cuda_ops[s->op].run) return refuse(why, cap, "there is no CUDA kernel for it");
    for (int side = 0; side < 2; side++)
        for (uint32_t k = 0; k < (side ? s->n_out : s->n_in); k++) {
            const uint32_t v = side ? s->out[k] : s->in[k];
            if (v == CO_NONE) continue;
            const uint8_t t = p->values[v].shape.dtype;
            if (!cuda_float(t) && t != CO_I32) return refuse(why, cap, "the CUDA backend computes in fp32, bf16 and fp16");
        }
    const char *reason = cuda_ops[s->op].refuses ? cuda_ops[s->op].refuses(self, p, s) : NULL;
    return reason ? refuse(why, cap, reason) : CO_OK;
}

int plan_workspace(void *self, const co_plan *p, size_t *bytes)
{
    size_t most = 0;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const cuda_op *k = &cuda_ops[p->steps[i].op];
        const size_t n = k->scratch ? k->scratch(self, p, &p->steps[i]) : 0;
        if (n > most) most = n;
    }
    *bytes = cuda_pad(most);
    return CO_OK;
}

int plan_prepare(void *self, const co_plan *p, void **out)
{
    gpu *c = self;
    compiled *k = c->host->alloc(c->host, sizeof *k, 16);
    if (k) k->lines = c->host->alloc(c->host, (p->n_steps + 1) * sizeof *k->lines, 16);
    if (!k || !k->lines) {
        plan_discard(self, k);
        return CO_FAIL(c->host, CO_E_NOMEM, "backend cuda: out of memory");
    }
    k->plan = p;
    k->n = fuse_lines(p, k->lines);
    *out = k;
    return CO_OK;
}

void plan_discard(void *self, void *what)
{
    gpu *c = self;
    compiled *k = what;
    if (!k) return;
    c->host->free(c->host, k->lines);
    c->host->free(c->host, k);
}

static view view_of(const co_plan_value *v, const co_binding *b)
{
    view o = {.rows = v->shape.ne[0], .cols = v->shape.ndim > 1 ? v->shape.ne[1] : 1, .stride = v->shape.row_stride, .dtype = v->shape.dtype};
    if (v->rows == CO_ROWS_TOKENS) o.rows = b->host_live->n_tokens;
    if (v->rows == CO_ROWS_SEQS) o.rows = b->host_live->n_seqs;
    if (v->rows == CO_ROWS_GATHERED) o.rows = b->host_live->n_gathered;
    if (v->region == CO_REGION_PARAM) {
        o.p = b->params[v->slot].data;
    } else if (v->region == CO_REGION_GRAD) {
        o.p = b->grads[v->slot].data;
        o.add = (v->flags & CO_VALUE_ADDS) || b->accumulate[v->slot];
    } else {
        o.p = (char *)b->base[v->region] + v->offset;
    }
    return o;
}

int plan_run(void *self, void *what, const co_binding *b, co_stream on)
{
    gpu *c = self;
    const compiled *k = what;
    const co_plan *p = k->plan;
    for (uint32_t i = 0; i < k->n; i++) {
        const fused_line *l = &k->lines[i];
        const co_step_op *op = &p->steps[l->step];
        cuda_step s = {.c = c, .op = op, .values = p->values, .live = b->host_live, .dev_live = b->dev_live, .alpha = l->alpha,
                       .scratch = b->base[CO_REGION_SCRATCH], .on = cuda_stream(c, on)};
        for (uint32_t n = 0; n < op->n_in; n++)
            if (op->in[n] != CO_NONE) s.in[n] = view_of(&p->values[op->in[n]], b);
        for (uint32_t n = 0; n < op->n_out; n++)
            if (op->out[n] != CO_NONE) s.out[n] = view_of(&p->values[op->out[n]], b);
        if (l->out != CO_NONE) s.out[0] = view_of(&p->values[l->out], b);
        if (l->residual != CO_NONE) s.residual = view_of(&p->values[l->residual], b);
        if (l->twin != CO_NONE) {
            s.twin = &p->steps[l->twin];
            s.twin_in = view_of(&p->values[s.twin->in[0]], b);
            s.twin_out = view_of(&p->values[s.twin->out[0]], b);
        }
        int r = cuda_ops[op->op].run(&s);
        if (r == CO_OK) r = cuda_check(c, cudaPeekAtLastError(), p->label);
        if (r) return r;
    }
    return CO_OK;
}
