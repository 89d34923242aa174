/* The parameter table: order, names, ties, groups, counts, and declarations it refuses. */
#include "fixture.h"

static void test_expand(void)
{
    fake_model m = {.layers = 3, .tied = 1};
    param_table *t = NULL;
    CHECK(param_table_build(&fake_vt, &m, CO_BF16, &t) == CO_OK);
    if (!t) return;
    CHECK(t->n_units == 5 && t->n_layers == 3 && t->n_params == 1 + 3 * 4 + 2);
    CHECK(t->unit_first[0] == 0 && t->unit_first[1] == 1 && t->unit_first[4] == 13 && t->unit_first[5] == 15);
    CHECK(param_unit_count(t, 2) == 4 && param_unit_kind(t, 4) == CO_UNIT_FINAL && param_unit_kind(t, 0) == CO_UNIT_EMBED);
    CHECK_STR(t->slots[1].name, "model.layers.0.norm.weight");
    CHECK_STR(t->slots[10].name, "model.layers.2.k.weight");
    CHECK(t->slots[10].unit == 3 && t->slots[10].index == 1);
    CHECK(param_find(t, "model.layers.2.k.weight") == 10 && param_find(t, "model.layers.3.k.weight") == CO_NONE);
    CHECK(param_find_local(t, CO_UNIT_BLOCK, "w") == 2 && param_find_local(t, CO_UNIT_EMBED, "w") == CO_NONE);
    CHECK(t->slots[14].owner == 0 && t->slots[13].owner == 13);
    CHECK(t->n_elements == 24 + 3 * (4 + 8 + 20 + 4) + 4);
    CHECK(t->n_trainable == t->n_elements);
    CHECK(t->info.max_seq == PARAM_ANY_LENGTH); /* the model says 0 */
    CHECK(t->slots[0].shape.row_stride == 4 && t->slots[1].shape.row_stride == 1 && t->slots[3].shape.ne[1] == 5);
    CHECK(t->slots[1].shape.dtype == CO_F32 && t->slots[2].shape.dtype == CO_BF16);
    CHECK(t->slots[0].group == 0 && t->slots[1].group == (PARAM_GROUP_NO_DECAY | PARAM_GROUP_FP32));
    CHECK(t->slots[4].group == PARAM_GROUP_NO_DECAY && t->slots[14].group == t->slots[0].group);
    CHECK_STR(param_decl(t, 10)->local_name, "k");
    param_table_free(t);
}

static void test_fp32_groups(void)
{
    fake_model m = {.layers = 1};
    param_table *t = NULL;
    CHECK(param_table_build(&fake_vt, &m, CO_F32, &t) == CO_OK);
    if (!t) return;
    CHECK(t->slots[1].group == PARAM_GROUP_NO_DECAY); /* nothing special when all is fp32 */
    CHECK(t->slots[t->n_params - 1].owner == t->n_params - 1);
    param_table_free(t);
}

static void test_freeze(void)
{
    fake_model m = {.layers = 1, .tied = 1};
    param_table *t = NULL;
    CHECK(param_table_build(&fake_vt, &m, CO_F32, &t) == CO_OK);
    if (!t) return;
    uint32_t head = param_find(t, "lm_head.weight");
    CHECK(param_table_freeze(t, head, 1) == CO_OK); /* the embedding goes with it */
    CHECK(!t->slots[0].trainable && !t->slots[head].trainable && t->slots[2].trainable);
    CHECK(t->n_trainable == t->n_elements - 24);
    CHECK(t->slots[0].group == PARAM_GROUP_FROZEN && t->slots[head].group == PARAM_GROUP_FROZEN);
    CHECK(param_table_freeze(t, 0, 0) == CO_OK && t->n_trainable == t->n_elements && t->slots[head].group == 0);
    CHECK(param_table_freeze(t, 99, 1) == CO_E_INVALID);
    param_table_free(t);
}

/* A frozen matrix in 16 bits beside fp32: with what is tied to it, in a group of its own; norms and 16-bit tables are left alone. */
static void test_hold(void)
{
    fake_model m = {.layers = 1, .tied = 1};
    param_table *t = NULL;
    CHECK(param_table_build(&fake_vt, &m, CO_F32, &t) == CO_OK);
    if (!t) return;
    const uint32_t head = param_find(t, "lm_head.weight");
    CHECK(param_table_freeze(t, 0, 1) == CO_OK);
    param_table_hold(t, 0, CO_F32);
    CHECK(t->slots[0].shape.dtype == CO_F32 && t->slots[0].group == PARAM_GROUP_FROZEN);
    param_table_hold(t, 0, CO_BF16);
    param_table_hold(t, 1, CO_BF16); /* a norm */
    CHECK(t->slots[0].shape.dtype == CO_BF16 && t->slots[head].shape.dtype == CO_BF16 && t->slots[1].shape.dtype == CO_F32);
    CHECK(t->slots[0].group == (PARAM_GROUP_FROZEN | PARAM_GROUP_BF16) && t->slots[head].group == t->slots[0].group);
    param_table_hold(t, 3, CO_F16);
    CHECK(t->slots[3].group == PARAM_GROUP_F16 && t->slots[3].shape.dtype == CO_F16);
    param_table_free(t);
    CHECK(param_table_build(&fake_vt, &m, CO_BF16, &t) == CO_OK);
    param_table_hold(t, 0, CO_F16);
    CHECK(t->slots[0].shape.dtype == CO_BF16 && t->slots[0].group == 0);
    param_table_free(t);
}

static void test_refused(void)
{
    static const char *const says[] = {
        "", "\"k\" of the block unit is declared twice", "two parameters are called", "no {} for the layer",
        "{} outside of a block", "size 0 in dimension 0", "2^40 elements", "tied to \"model.nowhere\"", "tied to itself",
        "whose shape differs", "too short", "tied to itself", "4 rows do not divide into groups of 5", "file_group of -1 rows",
        "there are 4", "neither a transposed file"};
    for (int i = 1; i <= 15; i++) {
        fake_model m = {.layers = 2, .tied = 1, .break_what = i};
        param_table *t = NULL;
        CHECK_MSG(param_table_build(&fake_vt, &m, CO_F32, &t) == CO_E_INVALID, "case %d", i);
        CHECK_HAS(error_message(), says[i]);
        CHECK(t == NULL);
    }
    fake_model none = {.layers = 0};
    param_table *t = NULL;
    CHECK(param_table_build(&fake_vt, &none, CO_F32, &t) == CO_E_INVALID);
    CHECK_HAS(error_message(), "0 layers");
}

/* Two groups of two parts: the file's rows a0 b0 a1 b1 are a0 a1 b0 b1 here. */
static void test_runs(void)
{
    fake_model m = {.layers = 1, .grouped = 1};
    param_table *t = NULL;
    CHECK(param_table_build(&fake_vt, &m, CO_F32, &t) == CO_OK);
    if (!t) return;
    static const int64_t w[4][2] = {{0, 0}, {1, 2}, {2, 1}, {3, 3}}, embed[4][3] = {{0, 0, 2}, {2, 4, 1}, {3, 2, 2}, {5, 5, 1}};
    CHECK(param_run_count(t, 3) == 4 && param_run_count(t, 4) == 4 && param_run_count(t, 0) == 4 && param_run_count(t, 2) == 1);
    for (int64_t i = 0; i < 4; i++) {
        const param_run a = param_run_at(t, 3, i), b = param_run_at(t, 4, i), c = param_run_at(t, 0, i);
        CHECK(a.file == 5 * w[i][0] && a.param == 5 * w[i][1] && a.n == 5);
        CHECK(b.file == w[i][0] && b.param == w[i][1] && b.n == 1);
        CHECK(c.file == 4 * embed[i][0] && c.param == 4 * embed[i][1] && c.n == 4 * embed[i][2]);
    }
    CHECK(param_run_at(t, 2, 0).n == 8 && param_run_at(t, 2, 0).param == 0);
    param_table_free(t);
}

static void test_out_of_memory(void)
{
    int rc = CO_E_NOMEM, n;
    for (n = 1; n < 200 && rc; n++) {
        fake_model m = {.layers = 2, .tied = 1};
        mem_counts before, after;
        param_table *t = NULL;
        mem_count(&before);
        mem_fail_after(n);
        rc = param_table_build(&fake_vt, &m, CO_F32, &t);
        mem_fail_after(0);
        if (rc == CO_OK) param_table_free(t);
        mem_count(&after);
        CHECK(after.live_bytes == before.live_bytes);
        CHECK(rc == CO_OK || rc == CO_E_NOMEM);
    }
    CHECK(rc == CO_OK && n > 5);
}

int main(void)
{
    test_expand();
    test_fp32_groups();
    test_freeze();
    test_hold();
    test_refused();
    test_runs();
    test_out_of_memory();
    return check_done();
}
