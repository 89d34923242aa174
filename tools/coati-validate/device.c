/* device.c: backends and comms, called as the engine and strategies call them. Whole plans are in training.c. */
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/rng.h"
#include "validate.h"
#include <math.h>
#include <string.h>

enum { N = 1000 };

typedef struct dev { const co_backend_vt *vt; void *self; } dev;

static int good(const char *what, int r)
{
    if (r == CO_OK) return 1;
    if (check_message(what, r)) report_fail("%s: %s", what, error_message());
    return 0;
}

static void check_memory(dev d)
{
    size_t available = 0, total = 0;
    void *p = NULL;
    float from[N], back[N];
    report_trying("memory(), alloc(), copy(), fill0(), free()");
    if (!good("memory()", d.vt->memory(d.self, &available, &total)) || !good("alloc()", d.vt->alloc(d.self, CO_MEM_DEVICE, sizeof from, &p))) return;
    if (!p || (uintptr_t)p % 256) report_fail("alloc() gives %p: 256-byte alignment is promised", p);
    if (available > total || total == 0) report_fail("memory() says %zu of %zu bytes are free", available, total);
    int ok = p && good("copy()", d.vt->copy(d.self, back, p, sizeof back, NULL)) && good("stream_sync()", d.vt->stream_sync(d.self, NULL));
    for (int i = 0; ok && i < N; i++)
        if (back[i] != 0) {
            report_fail("alloc() gives memory that is not zero");
            break;
        }
    for (int i = 0; i < N; i++) from[i] = (float)i * 0.5f - 3;
    memset(back, 0, sizeof back);
    ok = ok && good("copy()", d.vt->copy(d.self, p, from, sizeof from, NULL)) && good("copy()", d.vt->copy(d.self, back, p, sizeof back, NULL)) &&
         good("stream_sync()", d.vt->stream_sync(d.self, NULL));
    if (ok && memcmp(from, back, sizeof from) != 0) report_fail("copy() there and back changes the bytes");
    ok = ok && good("fill0()", d.vt->fill0(d.self, p, sizeof from / 2, NULL)) && good("copy()", d.vt->copy(d.self, back, p, sizeof back, NULL)) &&
         good("stream_sync()", d.vt->stream_sync(d.self, NULL));
    if (ok && (back[0] != 0 || back[N / 2 - 1] != 0 || back[N / 2] != from[N / 2])) report_fail("fill0() clears other bytes than those asked for");
    if (p) d.vt->free(d.self, CO_MEM_DEVICE, p);
    if (ok) report_ok("memory: aligned, zero-filled, copied and cleared; %.1f GiB of %.1f free", (double)available / 1073741824, (double)total / 1073741824);
}

static void check_streams(dev d)
{
    co_stream s = NULL;
    co_event e = NULL;
    report_trying("streams and events");
    if (!good("stream_new()", d.vt->stream_new(d.self, &s)) || !good("event_new()", d.vt->event_new(d.self, &e))) return;
    const int ok = good("event_record()", d.vt->event_record(d.self, e, s)) && good("event_wait()", d.vt->event_wait(d.self, e, NULL)) &&
                   good("event_sync()", d.vt->event_sync(d.self, e)) && good("stream_sync()", d.vt->stream_sync(d.self, s));
    d.vt->event_free(d.self, e);
    d.vt->stream_free(d.self, s);
    if (ok) report_ok("streams and events");
}

/* Flat helpers against plain loops in double. */
static void check_flat(dev d)
{
    float x[N], y[N], got[N];
    double sum = 0, want = 0;
    void *a = NULL, *b = NULL, *s = NULL;
    report_trying("flat_axpy(), flat_sqnorm(), flat_cast()");
    for (int i = 0; i < N; i++) x[i] = (float)rng_normal(1, 90, (uint64_t)i), y[i] = (float)rng_normal(1, 91, (uint64_t)i), want += (double)x[i] * x[i];
    int ok = good("alloc()", d.vt->alloc(d.self, CO_MEM_DEVICE, sizeof x, &a)) && good("alloc()", d.vt->alloc(d.self, CO_MEM_DEVICE, sizeof y, &b)) &&
             good("alloc()", d.vt->alloc(d.self, CO_MEM_DEVICE, 256, &s));
    ok = ok && good("copy()", d.vt->copy(d.self, a, x, sizeof x, NULL)) && good("copy()", d.vt->copy(d.self, b, y, sizeof y, NULL)) &&
         good("flat_axpy()", d.vt->flat_axpy(d.self, b, a, CO_F32, 0.5f, N, NULL)) && good("flat_sqnorm()", d.vt->flat_sqnorm(d.self, a, CO_F32, N, s, NULL)) &&
         good("copy()", d.vt->copy(d.self, got, b, sizeof got, NULL)) && good("copy()", d.vt->copy(d.self, &sum, s, sizeof sum, NULL)) &&
         good("stream_sync()", d.vt->stream_sync(d.self, NULL));
    const int before = report_failures();
    for (int i = 0; ok && i < N && report_failures() == before; i++)
        if (fabs((double)got[i] - ((double)y[i] + 0.5 * (double)x[i])) > 1e-6) report_fail("flat_axpy(): element %d is %g", i, (double)got[i]);
    if (ok && fabs(sum - want) > 1e-6 * want) report_fail("flat_sqnorm() gives %.9g, it is %.9g", sum, want);
    if (ok && (d.vt->dtypes & 1u << CO_BF16)) {
        uint16_t half[N] = {0};
        ok = good("flat_cast()", d.vt->flat_cast(d.self, b, CO_BF16, a, CO_F32, N, NULL)) && good("copy()", d.vt->copy(d.self, half, b, sizeof half, NULL)) &&
             good("stream_sync()", d.vt->stream_sync(d.self, NULL));
        for (int i = 0; ok && i < N && report_failures() == before; i++) {
            uint32_t bits = (uint32_t)half[i] << 16;
            float v;
            memcpy(&v, &bits, sizeof v);
            if (fabs((double)v - (double)x[i]) > fabs((double)x[i]) / 256) report_fail("flat_cast() to bf16: %g becomes %g", (double)x[i], (double)v);
        }
    }
    if (a) d.vt->free(d.self, CO_MEM_DEVICE, a);
    if (b) d.vt->free(d.self, CO_MEM_DEVICE, b);
    if (s) d.vt->free(d.self, CO_MEM_DEVICE, s);
    if (ok && report_failures() == before) report_ok("flat helpers against plain loops");
}

/* An op from a later version must be refused before the first step. */
static void check_unknown_op(dev d)
{
    const co_step_op op = {.op = CO_OP_COUNT + 5};
    const co_plan p = {.struct_size = sizeof p, .n_steps = 1, .steps = &op, .label = "of coati-validate"};
    char why[64] = "";
    report_trying("supports() of an op that does not exist");
    if (d.vt->supports(d.self, &p, 0, why, sizeof why) == CO_OK) report_fail("supports() takes an op that does not exist");
    else if (!why[0]) report_fail("supports() refuses without saying why");
    else report_ok("supports() refuses an unknown op: %s", why);
}

void check_backend(const subject *s)
{
    dev d = {host_backend(s->host, s->f), NULL};
    bound b = {0};
    int r = subject_bind(s, s->f, NULL, &b);
    if (r == CO_OK) r = subject_open(s, b.opts, &d.self);
    if (r) report_fail("%s", error_message());
    else {
        check_memory(d);
        check_streams(d);
        check_flat(d);
        check_unknown_op(d);
        subject_close(s, d.self);
    }
    bound_free(&b);
}

/* Alone in its world: sums are the values themselves. */
static void check_alone(const co_comm_vt *vt, void *self)
{
    float x[16], y[16];
    const int before = report_failures();
    for (int i = 0; i < 16; i++) x[i] = (float)i - 4, y[i] = 0;
    report_trying("collectives of one rank");
    int ok = good("all_reduce()", vt->all_reduce(self, x, 16, CO_F32, NULL)) && good("all_gather()", vt->all_gather(self, x, y, 16, CO_F32, NULL)) && good("barrier()", vt->barrier(self));
    for (int i = 0; ok && i < 16; i++)
        if (x[i] != (float)i - 4 || y[i] != x[i]) return report_fail("all_reduce() or all_gather() of one rank changes the values (sums, never means)");
    memset(y, 0, sizeof y);
    ok = ok && good("reduce_scatter()", vt->reduce_scatter(self, x, y, 16, CO_F32, NULL)) && good("broadcast()", vt->broadcast(self, y, 16, CO_F32, 0, NULL));
    for (int i = 0; ok && i < 16; i++)
        if (y[i] != x[i]) return report_fail("reduce_scatter() or broadcast() of one rank changes the values");
    void *sub = NULL;
    if (ok && good("split()", vt->split(self, 0, 0, &sub))) vt->close(sub);
    if (ok && report_failures() == before) report_ok("collectives of one rank");
}

void check_comm(const subject *s)
{
    const co_comm_vt *vt = host_comm(s->host, s->f);
    int32_t rank = -1, world = -1, local = -1, local_world = -1;
    void *self = NULL;
    bound b = {0};
    int r = subject_bind(s, s->f, NULL, &b);
    if (r == CO_OK) r = subject_open(s, b.opts, &self);
    report_trying("info()");
    if (r == CO_OK) r = vt->info(self, &rank, &world, &local, &local_world);
    if (r) report_fail("%s", error_message());
    else if (world < 1 || rank < 0 || rank >= world || local < 0 || local >= local_world || local_world > world)
        report_fail("info() says rank %d of %d, %d of %d on this machine", rank, world, local, local_world);
    else {
        report_ok("info: rank %d of %d", rank, world);
        if (world == 1) check_alone(vt, self);
        else report_skip("collectives: started with several ranks");
    }
    if (self) subject_close(s, self);
    bound_free(&b);
}
