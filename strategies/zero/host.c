/* host.c: what happens in host memory, on the worker's thread and through the CPU backend: gradients add up, their squares
 * are summed, weights are updated. Clipping and skipping are those of the step's state, as on a device. */
#include "zero.h"

static int add(zero *z, const zero_job *j)
{
    zero_bucket *b = j->bucket;
    const char *from = z->base[ZERO_HOST_RECV] + j->from * (z->bytes[ZERO_HOST_RECV] / 2);
    return z->a.cpu->flat_axpy(z->a.cpu_self, zero_at(z, b, ZERO_HOST_GRADS), from, (co_dtype)b->grad_dtype, 1, b->shard, NULL);
}

static int squares(zero *z, const zero_bucket *b)
{
    const co_backend_vt *cpu = z->a.cpu;
    const char *grad = zero_at(z, b, ZERO_HOST_GRADS);
    double *sums = z->host_sums + b->sum;
    int r = CO_OK;
    if (!zero_scaled(z)) return zero_measure(z, cpu, z->a.cpu_self, grad, b->grad_dtype, b->shard, sums, NULL);
    for (uint32_t k = 0; k < b->n_members && r == CO_OK; k++) {
        const zero_part p = zero_own_part(z, z->members[b->first_member + k], z->rank);
        sums[k] = 0;
        if (p.n) r = zero_measure(z, cpu, z->a.cpu_self, grad + (size_t)p.at * co_dtype_bytes(b->grad_dtype), b->grad_dtype, p.n, &sums[k], NULL);
    }
    return r;
}

static int update(zero *z, const zero_job *j)
{
    zero_bucket *b = j->bucket;
    void *const copy = zero_at(z, b, ZERO_HOST_PARAMS);
    co_optim_slice s = {.struct_size = sizeof s, .flags = b->flags, .n = b->shard, .step = j->step,
                        .master = (float *)(void *)zero_at(z, b, ZERO_HOST_MASTER), .grad = zero_at(z, b, ZERO_HOST_GRADS),
                        .grad_dtype = b->grad_dtype, .out = copy, .out_dtype = b->dtype, .lr = j->lr, .grad_scale = 1,
                        .dev_scale = &z->seen->factor, .dev_skip = &z->seen->skip, .dev_step = zero_scaled(z) ? &z->seen->updates : NULL};
    if (b->halves) s.low = (int16_t *)(void *)s.master, s.master = NULL;
    for (int32_t k = 0; k < z->n_state; k++) s.state[k] = zero_state(z, b, k);
    return z->a.optim->update(z->a.optim_self, z->a.cpu, z->a.cpu_self, &s, NULL);
}

int zero_run_job(zero *z, const zero_job *j)
{
    static const char *const names[] = {[ZERO_ADD] = "add gradients", [ZERO_SQUARES] = "sum squares", [ZERO_UPDATE] = "update"};
    const co_trace *trace = z->a.host->extension(z->a.host, CO_TRACE_ID);
    int r = j->after ? z->a.backend->event_sync(z->a.backend_self, j->after) : CO_OK;
    if (r) return r;
    const uint64_t begin = trace ? trace->begin() : 0;
    r = j->what == ZERO_ADD ? add(z, j) : j->what == ZERO_SQUARES ? squares(z, j->bucket) : update(z, j);
    if (trace) trace->end(begin, "host", names[j->what]);
    return r;
}
