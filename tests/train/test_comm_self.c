/* test_comm_self.c: one rank: collectives are copies, sums of one. */
#include "check.h"
#include "train/parts.h"

int main(void)
{
    parts t;
    parts_open(&t, "cpu", NULL);
    const co_comm_vt *c = t.comm;
    int32_t rank = -1, world = -1, local_rank = -1, local_world = -1;
    CHECK(c->info(t.comm_self, &rank, &world, &local_rank, &local_world) == CO_OK);
    CHECK(rank == 0 && world == 1 && local_rank == 0 && local_world == 1);
    CHECK(c->mem_kinds & 1u << CO_MEM_HOST);

    const float in[3] = {1, 2, 3};
    float out[4] = {9, 9, 9, 9};
    CHECK(c->all_gather(t.comm_self, in, out, 3, CO_F32, NULL) == CO_OK);
    CHECK(memcmp(in, out, sizeof in) == 0 && out[3] == 9);
    CHECK(c->all_reduce(t.comm_self, out, 4, CO_F32, NULL) == CO_OK);
    CHECK(c->broadcast(t.comm_self, out, 4, CO_F32, 0, NULL) == CO_OK);
    CHECK(memcmp(in, out, sizeof in) == 0 && out[3] == 9);
    CHECK(c->reduce_scatter(t.comm_self, out, out, 4, CO_F32, NULL) == CO_OK); /* in place */
    CHECK(c->all_gather(t.comm_self, in, out, 0, CO_F32, NULL) == CO_OK);

    /* Sizes by type: n counts elements. */
    static const struct { co_dtype t; size_t size; } types[] = {{CO_F32, 4}, {CO_BF16, 2}, {CO_F16, 2}, {CO_I32, 4}, {CO_U8, 1}, {CO_I64, 8}, {CO_F64, 8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        unsigned char from[40], to[40];
        memset(from, 1, sizeof from);
        memset(to, 2, sizeof to);
        CHECK(c->reduce_scatter(t.comm_self, from, to, 3, types[i].t, NULL) == CO_OK);
        size_t copied = 0;
        while (copied < sizeof to && to[copied] == 1) copied++;
        CHECK_MSG(copied == 3 * types[i].size, "type %d: %zu bytes", (int)types[i].t, copied);
    }

    void *sub = NULL;
    CHECK(c->split(t.comm_self, 5, 0, &sub) == CO_OK && sub && sub != t.comm_self);
    CHECK(c->info(sub, &rank, &world, &local_rank, &local_world) == CO_OK && rank == 0 && world == 1);
    c->close(sub);
    CHECK(c->barrier(t.comm_self) == CO_OK);
    CHECK(c->abort(t.comm_self, 3) == CO_OK);
    parts_close(&t);
    return check_done();
}
