/* test_fuse.c: which lines of a plan the CUDA backend runs as one (backends/cuda/fuse.h), on plans written by hand. Needs no GPU. */
#include "backends/cuda/fuse.h"
#include "check.h"

#define T 64 /* rows of every value */
typedef struct hand { /* a plan */
    co_plan plan;
    co_plan_value v[32];
    co_step_op s[16];
    uint32_t io[16][4];
    co_rope rope[2];
    fused_line out[16];
    uint32_t n;
} hand;

static uint32_t value(hand *h, uint32_t region, size_t offset, int64_t cols, int64_t stride)
{
    co_plan_value *v = &h->v[h->plan.n_values];
    *v = (co_plan_value){.region = region, .rows = CO_ROWS_TOKENS, .offset = offset};
    v->shape = (co_tensor){.ne = {T, cols, 1, 1}, .row_stride = stride, .ndim = 2, .dtype = CO_BF16};
    return h->plan.n_values++;
}
static uint32_t weight(hand *h, int64_t rows, int64_t cols)
{
    const uint32_t w = value(h, CO_REGION_PARAM, 0, cols, cols);
    h->v[w].rows = CO_ROWS_FIXED;
    h->v[w].shape.ne[0] = rows;
    return w;
}
static uint32_t line(hand *h, uint32_t op, uint32_t a, uint32_t b, uint32_t y, const void *attrs)
{
    const uint32_t i = h->plan.n_steps++;
    h->io[i][0] = a, h->io[i][1] = b, h->io[i][2] = y;
    h->s[i] = (co_step_op){.op = op, .n_in = b == CO_NONE ? 1 : 2, .n_out = 1, .in = h->io[i], .out = h->io[i] + 2, .attrs = attrs};
    return i;
}
static void start(hand *h)
{
    memset(h, 0, sizeof *h);
    h->plan = (co_plan){.struct_size = sizeof h->plan, .label = "by hand", .steps = h->s, .values = h->v};
}
static void fuse(hand *h) { h->n = fuse_lines(&h->plan, h->out); }

/* y = x W^T, 64 columns; two adapters add to its halves; a residual branch behind one of full width. */
enum { HALF = 32 * 2, FULL = T * 64 * 2 };
static void adapters(int reads_between, int overwrites_x)
{
    hand h;
    start(&h);
    const uint32_t x = value(&h, CO_REGION_WORK, 0, 256, 256), w = weight(&h, 64, 256), y = value(&h, CO_REGION_SAVED, 0, 64, 64);
    const uint32_t z = value(&h, CO_REGION_SAVED, FULL, 8, 8), a = weight(&h, 8, 256), b = weight(&h, 32, 8);
    const uint32_t base = line(&h, CO_OP_LINEAR, x, w, y, NULL);
    const uint32_t low = line(&h, CO_OP_LINEAR, x, a, z, NULL);
    uint32_t small[2], sum[2];
    if (overwrites_x) line(&h, CO_OP_SILU, z, CO_NONE, value(&h, CO_REGION_WORK, 0, 8, 8), NULL);
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t part = value(&h, CO_REGION_SAVED, i * HALF, 32, 64), t = value(&h, CO_REGION_WORK, 3 * FULL * 8, 32, 32);
        if (i && reads_between) line(&h, CO_OP_SILU, part, CO_NONE, value(&h, CO_REGION_WORK, 5 * FULL * 8, 32, 32), NULL);
        small[i] = line(&h, CO_OP_LINEAR, z, b, t, NULL);
        sum[i] = value(&h, CO_REGION_SAVED, i * HALF, 32, 64);
        line(&h, CO_OP_ADD, part, t, sum[i], NULL);
    }
    fuse(&h);
    if (reads_between || overwrites_x) {
        CHECK(h.out[0].step == base && h.out[0].residual == CO_NONE);
        return;
    }
    CHECK(h.n == 4 && h.out[0].step == low && h.out[3].step == base && h.out[3].residual == y);
    for (uint32_t i = 0; i < 2; i++) CHECK(h.out[1 + i].step == small[i] && h.out[1 + i].residual == CO_NONE && h.out[1 + i].out == sum[i]);
}

static void adapter_and_residual(void)
{
    hand h;
    start(&h);
    const uint32_t x = value(&h, CO_REGION_SAVED, 0, 256, 256), w = weight(&h, 64, 256), y = value(&h, CO_REGION_WORK, 0, 64, 64);
    const uint32_t z = value(&h, CO_REGION_SAVED, FULL * 8, 8, 8), b = weight(&h, 64, 8), t = value(&h, CO_REGION_WORK, FULL, 64, 64);
    const uint32_t sum = value(&h, CO_REGION_WORK, 0, 64, 64), branch = value(&h, CO_REGION_X, 0, 64, 64), out = value(&h, CO_REGION_Y, 0, 64, 64);
    const uint32_t base = line(&h, CO_OP_LINEAR, x, w, y, NULL), small = line(&h, CO_OP_LINEAR, z, b, t, NULL);
    line(&h, CO_OP_ADD, y, t, sum, NULL);
    line(&h, CO_OP_ADD, branch, sum, out, NULL);
    fuse(&h);
    CHECK(h.n == 2 && h.out[0].step == small && h.out[0].residual == branch && h.out[0].out == out);
    CHECK(h.out[1].step == base && h.out[1].residual == out && h.out[1].out == out);
}

/* Queries and keys are columns 0 to 31 and `from` to from + 15 of one matrix, turned in place. */
static void turns(uint32_t from, float theta, int together)
{
    hand h;
    start(&h);
    h.rope[0] = (co_rope){.struct_size = sizeof(co_rope), .n_heads = 4, .neox = 1, .theta = 1e4f};
    h.rope[1] = (co_rope){.struct_size = sizeof(co_rope), .n_heads = 2, .neox = 1, .theta = theta};
    const uint32_t q = value(&h, CO_REGION_WORK, 0, 32, 64), k = value(&h, CO_REGION_WORK, from * 2, 16, 64), pos = value(&h, CO_REGION_BATCH, 0, 1, 1);
    const uint32_t first = line(&h, CO_OP_ROPE, q, pos, q, &h.rope[0]), second = line(&h, CO_OP_ROPE, k, pos, k, &h.rope[1]);
    fuse(&h);
    CHECK_MSG(h.n == (together ? 1 : 2) && h.out[0].step == first && h.out[0].twin == (together ? second : CO_NONE), "keys from column %u: %u lines", from, h.n);
}

int main(void)
{
    adapters(0, 0);
    adapters(1, 0); /* somebody reads y before all of it is there */
    adapters(0, 1); /* x is gone by the time the large product would run */
    adapter_and_residual();
    turns(32, 1e4f, 1);
    turns(48, 1e4f, 1);
    turns(24, 1e4f, 0);
    turns(32, 5e5f, 0);
    return check_done();
}
