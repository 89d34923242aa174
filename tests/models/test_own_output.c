/* test_own_output.c: a model whose block ends in exp(), so that its backward reads what the block gave out, where gradients of
 * hidden states would otherwise stand: through the whole engine, every gradient against differences of the loss. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "models/fixture.h"
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { TOKENS = 7, SEQS = 2 };
static const int32_t ids[TOKENS] = {1, 4, 2, 8, 5, 7, 3}, labels[TOKENS] = {4, 2, 8, 5, 7, 3, 1}, positions[TOKENS] = {0, 1, 2, 3, 0, 1, 2},
                     seq_start[SEQS + 1] = {0, 4, TOKENS};
static const float mask[TOKENS] = {1, 1, 1, 1, 1, 1, 1};
static const uint64_t keys[SEQS] = {0, 1};
static const void *const columns[2] = {labels, mask};
static const engine_batch batch = {.n_tokens = TOKENS, .n_seqs = SEQS, .ids = ids, .positions = positions, .seq_start = seq_start, .seq_key = keys, .columns = columns};

static double loss_with(fixture *f, uint32_t p, int64_t i, float v)
{
    engine_result r = {0};
    CHECK_MSG(engine_write(f->engine, p, 0, i, 1, &v) == CO_OK && engine_evaluate(f->engine, &batch, 1.0 / TOKENS, &r) == CO_OK, "%s", error_message());
    return r.loss;
}

static void check_gradients(const fixture_args *a)
{
    fixture f;
    CHECK_MSG(fixture_open(a, &f) == CO_OK, "%s", error_message());
    CHECK_MSG(engine_micro_step(f.engine, &batch, 1.0 / TOKENS, 1, 1, 1, NULL) == CO_OK, "%s", error_message());
    for (uint32_t p = 0; p < f.table->n_params; p++)
        for (int64_t i = 0; i < param_elements(&f.table->slots[p]); i += 5) {
            float got = 0, at = 0;
            CHECK(engine_read_grad(f.engine, p, i, 1, &got) == CO_OK && engine_read(f.engine, p, 0, i, 1, &at) == CO_OK);
            const double up = loss_with(&f, p, i, at + 1e-2f), down = loss_with(&f, p, i, at - 1e-2f), want = (up - down) / 2e-2;
            (void)loss_with(&f, p, i, at);
            CHECK_MSG(fabs(got - want) <= 2e-4 + 0.02 * fabs(want), "%s[%ld]: gradient %.6g, differences say %.6g", f.table->slots[p].name, (long)i, (double)got, want);
        }
    fixture_close(&f);
}

int main(void)
{
    char dir[] = "/tmp/coati-own-output-XXXXXX";
    static const char config[] = "{\"model_type\": \"wrong\", \"hidden_size\": 6, \"num_hidden_layers\": 3, \"vocab_size\": 13, \"num_attention_heads\": 3}";
    setenv("COATI_WRONG", "exp", 1); /* which is right; see tests/validate/wrong.c */
    CHECK(mkdtemp(dir) != NULL);
    char *path = fs_join(dir, "config.json");
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(config, file) >= 0 && fclose(file) == 0);
    for (int again = 0; again < 2; again++)
        check_gradients(&(fixture_args){.dir = dir, .max_tokens = TOKENS, .max_seqs = SEQS, .random = 1, .checkpoint_blocks = again});
    CHECK(unlink(path) == 0 && rmdir(dir) == 0);
    mem_free(path);
    return check_done();
}
