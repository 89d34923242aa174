/* failures.c: opening a backend and preparing a plan with each allocation failing once: an error code every time,
 * a message, and nothing left behind. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/host/host.h"

static size_t live_bytes(void)
{
    mem_counts c;
    mem_count(&c);
    return c.live_bytes;
}

/* Opens, prepares two kinds of rope and an addition, allocates, and puts everything back. */
static int use(const co_backend_vt *vt, const co_host *h, uint8_t dtype)
{
    static const co_rope ropes[2] = {
        {.struct_size = sizeof(co_rope), .n_heads = 1, .rotary_dims = 8, .theta = 10000},
        {.struct_size = sizeof(co_rope), .n_heads = 1, .rotary_dims = 4, .theta = 500}};
    static const uint32_t in[2] = {0, 1}, out[1] = {2};
    const co_plan_value values[3] = {
        {.shape = {.ne = {4, 8, 1, 1}, .row_stride = 8, .ndim = 2, .dtype = dtype}},
        {.shape = {.ne = {4, 1, 1, 1}, .row_stride = 1, .ndim = 1, .dtype = CO_I32}},
        {.shape = {.ne = {4, 8, 1, 1}, .row_stride = 8, .ndim = 2, .dtype = dtype}}};
    const co_step_op steps[2] = {
        {.op = CO_OP_ROPE, .n_in = 2, .n_out = 1, .attrs_size = sizeof(co_rope), .in = in, .out = out, .attrs = &ropes[0]},
        {.op = CO_OP_ROPE, .n_in = 2, .n_out = 1, .attrs_size = sizeof(co_rope), .in = in, .out = out, .attrs = &ropes[1]}};
    const co_plan plan = {.struct_size = sizeof plan, .n_steps = 2, .n_values = 3, .label = "failures", .steps = steps, .values = values};
    const int64_t opts[16] = {0};
    void *self = NULL, *compiled = NULL, *memory = NULL;
    size_t bytes;
    int r = vt->open(h, opts, &self);
    if (r) return r;
    r = vt->workspace(self, &plan, &bytes);
    if (!r) r = vt->alloc(self, CO_MEM_DEVICE, bytes + 4096, &memory);
    if (!r) r = vt->prepare(self, &plan, &compiled);
    if (compiled) vt->discard(self, compiled);
    vt->free(self, CO_MEM_DEVICE, memory);
    vt->close(self);
    return r;
}

static void check_backend(host *h, const char *name)
{
    const co_feature *f;
    const int found = host_feature(h, CO_KIND_BACKEND, name, &f) == CO_OK;
    CHECK_MSG(found, "%s", error_message());
    if (!found) return;
    const co_backend_vt *vt = host_backend(h, f);
    const uint8_t dtype = vt->dtypes & 1u << CO_F64 ? CO_F64 : CO_F32;
    const int works = use(vt, host_services(h), dtype) == CO_OK;
    CHECK_MSG(works, "%s: %s", name, error_message());
    int n = 1, r = CO_E_NOMEM;
    for (; n < 100 && r; n++) {
        const size_t before = live_bytes();
        mem_fail_after(n);
        r = use(vt, host_services(h), dtype);
        mem_fail_after(0);
        CHECK_MSG(r == CO_OK || r == CO_E_NOMEM, "%s, allocation %d: status %d", name, n, r);
        CHECK_MSG(r == CO_OK || error_message()[0], "%s, allocation %d: no message", name, n);
        CHECK_MSG(live_bytes() == before, "%s, allocation %d: %zd bytes stay", name, n, (ssize_t)(live_bytes() - before));
    }
    CHECK_MSG(r == CO_OK && n > 3, "%s: %d allocations were made to fail", name, n - 2);
}

int main(void)
{
    host *h = host_new(NULL);
    CHECK(h != NULL);
    if (!h) return check_done();
    check_backend(h, "ref");
    check_backend(h, getenv("COATI_TEST_BACKEND") ? getenv("COATI_TEST_BACKEND") : "cpu");
    host_free(h);
    return check_done();
}
