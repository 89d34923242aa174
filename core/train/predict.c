/* predict.c: see predict.h. */
#include "core/train/predict.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static double larger(double a, double b) { return a > b ? a : b; }

/* `whole` bytes in `calls` messages, which every rank passes on `rounds` times the ring. */
static double ring_time(const prediction *p, const speeds *v, double whole, double calls, double rounds)
{
    const double n = p->world, sent = rounds * whole * (n - 1) / n;
    const double near = p->node > 1 ? sent / v->node_link : 0, far = p->world > p->node ? sent / v->network : 0;
    return larger(near, far) + calls * rounds * (n - 1) * (p->world > p->node ? v->network_latency : v->node_latency);
}

/* What is left to wait for of `time`, of which `least` has nothing to hide behind. */
static double exposed(int overlap, double time, double least, double window) { return overlap ? larger(least, time - larger(window, 0)) : time; }

static void add_links(prediction *p, const speeds *v, const co_strategy_traffic *t, double copied, int device)
{
    const double n = p->world, sent = (2 * t->reduced + t->scattered + t->gathered + t->published) * (n - 1) / n;
    const int far = p->world > p->node, overlap = device && t->overlap;
    p->node_bytes = far ? sent * (p->node - 1) / p->node : sent;
    p->network_bytes = sent - p->node_bytes;
    p->node_s = p->node > 1 ? sent / v->node_link : 0;
    p->network_s = far ? sent / v->network : 0;
    const double reduce = ring_time(p, v, t->reduced, t->reduce_calls, 2) + ring_time(p, v, t->scattered, t->scatter_calls, 1);
    const double gather = ring_time(p, v, t->gathered, t->gather_calls, 1), publish = ring_time(p, v, t->published, t->publish_calls, 1);
    const double made = t->reduced + t->scattered, passes = p->forward_s + p->backward_s;
    const double tail = made > 0 ? reduce * t->last / made : 0;
    const double waits = exposed(overlap, reduce, tail, t->each_micro_step ? p->backward_s : p->backward_s / p->micro_steps);
    p->exposed_s = waits + exposed(overlap, gather, t->gather_calls > 0 ? gather / t->gather_calls : 0, passes - (reduce - waits)) +
                   exposed(overlap, publish, t->publish_calls > 0 ? publish / t->publish_calls : 0, p->forward_s / p->micro_steps);
    if (!device) return;
    p->to_host = t->to_host + copied;
    p->to_device = t->to_device + copied;
    p->host_s = larger(p->to_host, p->to_device) / v->host_link; /* both ways at once */
    p->exposed_s += exposed(overlap, p->host_s, 0, passes);
}

/* Samples of the same length. */
static int even_live(double tokens, double seqs, co_live *live, int32_t **start)
{
    const int32_t n = (int32_t)larger(1, round(seqs));
    *start = mem_alloc(((size_t)n + 1) * sizeof **start, 16);
    if (!*start) return FAIL(CO_E_NOMEM, "out of memory");
    for (int32_t i = 0; i <= n; i++) (*start)[i] = (int32_t)(tokens * i / n);
    *live = (co_live){.struct_size = sizeof *live, .n_tokens = (int32_t)tokens, .n_seqs = n, .seq_start = *start};
    return CO_OK;
}

int run_predict(const run *r, double tokens, double seqs, int32_t micro_steps, prediction *p)
{
    const int device = (r->backend->flags & CO_BACKEND_ASYNC) != 0;
    const int32_t machine = r->o.run.machine != MACHINE_AUTO ? r->o.run.machine : device ? MACHINE_H100 : MACHINE_CPU;
    const int32_t node = r->plan_world ? (int32_t)r->o.run.gpus_per_node : r->local_world;
    co_strategy_traffic t = {.micro_steps = micro_steps};
    engine_cost cost;
    speeds v;
    co_live live;
    int32_t *start = NULL;
    *p = (prediction){.machine = machine == MACHINE_H100 ? "h100" : "cpu", .world = r->world, .node = node < 1 ? 1 : node < r->world ? node : r->world,
                      .micro_steps = micro_steps, .tokens = tokens, .seqs = seqs};
    int e = speeds_open(machine, r->o.run.speeds, &v);
    if (e == CO_OK) e = engine_traffic(r->engine, &t);
    if (e == CO_OK) e = even_live(tokens, seqs, &live, &start);
    if (e) return e;
    const double ours = v.shared > 0 ? 1.0 / p->node : 1, product = (r->o.precision.dtype == DTYPE_FP32 ? v.product_fp32 : v.product_16) * ours;
    const engine_speeds s = {.product = product, .small_product = product * v.small_product, .small_below = v.small_below, .attention = v.attention * ours,
                             .attention_backward = v.attention_backward * ours, .memory = v.memory * ours, .op_s = v.op};
    engine_predict(r->engine, &live, &s, &cost);
    mem_free(start);
    p->flops = cost.flops * micro_steps;
    p->forward_s = cost.forward_s * micro_steps;
    p->backward_s = cost.backward_s * micro_steps;
    p->update_s = t.updated / (v.adamw * ours) + t.updated_host * p->node / v.host_adamw;
    add_links(p, &v, &t, cost.offloaded * micro_steps, machine == MACHINE_H100);
    p->step_s = p->forward_s + p->backward_s + p->update_s + p->exposed_s;
    p->tokens_per_s = tokens * micro_steps * p->world / p->step_s;
    return CO_OK;
}

int run_prediction_text(const run *r, char **text)
{
    prediction p;
    int32_t tokens, seqs;
    *text = NULL;
    if (!r->train.loader) return CO_OK;
    loader_capacity(r->train.loader, &tokens, &seqs);
    const int e = run_predict(r, tokens, seqs, (int32_t)r->o.batch.accumulation, &p);
    if (e == CO_E_UNSUPPORTED) return CO_OK;
    if (e) return e;
    *text = mem_printf("%-20s %18s %12s\n"
                       "%-20s %18s %12.6f   forward %.6f, backward %.6f; %.4g operations\n"
                       "%-20s %18s %12.6f\n"
                       "%-20s %18.0f %12.6f\n%-20s %18.0f %12.6f\n%-20s %18.0f %12.6f\n%-20s %18.0f %12.6f\n"
                       "%-20s %18s %12.6f\n%-20s %18s %12.6f\n%-20s %18.0f\n"
                       "predicted for %s: %d ranks, %d a machine; a rank's full step of %d micro-steps of %d tokens in %d samples\n",
                       "step, predicted", "bytes", "seconds", "compute", "", p.forward_s + p.backward_s, p.forward_s, p.backward_s, p.flops, "update", "", p.update_s,
                       "within a machine", p.node_bytes, p.node_s, "between machines", p.network_bytes, p.network_s, "device to host", p.to_host, p.host_s, "host to device", p.to_device, p.host_s,
                       "exposed", "", p.exposed_s, "step", "", p.step_s, "tokens/s, all ranks", p.tokens_per_s, p.machine, p.world, p.node,
                       p.micro_steps, tokens, seqs);
    return *text ? CO_OK : FAIL(CO_E_NOMEM, "out of memory");
}

int run_write_prediction(const run *r, const prediction *p, const measured *m)
{
    engine_memory plan;
    engine_bytes(r->engine, &plan);
    char *path = fs_join(r->o.run.output, "prediction.json");
    char *text = mem_printf("{\"machine\":\"%s\",\"ranks\":%d,\"ranks_per_machine\":%d,\"micro_steps\":%d,\"tokens\":%.1f,\n"
                            " \"step_s\":{\"predicted\":%.6g,\"measured\":%.6g},\n"
                            " \"sent_bytes\":{\"predicted\":%.0f,\"measured\":%.0f},\n"
                            " \"memory_bytes\":{\"predicted\":%zu,\"measured\":%.0f}}\n",
                            p->machine, p->world, p->node, p->micro_steps, p->tokens, p->step_s, m->step_s, p->node_bytes + p->network_bytes, m->sent_bytes,
                            plan.total, m->memory);
    const int e = path && text ? fs_write_atomic(path, text, strlen(text)) : FAIL(CO_E_NOMEM, "out of memory");
    mem_free(text);
    mem_free(path);
    return e;
}
