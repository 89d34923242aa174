/* stories260k.c: a trained model against another implementation: 64 greedy steps, all logits within 1e-4. Needs the
 * shared test data (COATI_SHARED, or ../shared beside the source). */
#include "check.h"
#include "models/fixture.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"

static char *shared_path(const char *rest)
{
    const char *env = getenv("COATI_SHARED");
    return env ? fs_join(env, rest) : mem_printf("%s/../shared/%s", COATI_SOURCE_DIR, rest);
}

int main(void)
{
    char *dir = shared_path("data/models/stories260K"), *file = shared_path("data/reference/stories260K/greedy64_logits.json");
    char *json = NULL;
    size_t len;
    fixture f;
    if (!fs_is_dir(dir) || fs_read_all(file, &json, &len, 1 << 24) != CO_OK) {
        printf("skipped: the shared test data is not there\n");
        mem_free(file);
        mem_free(dir);
        return 77;
    }
    CHECK(fixture_open(&(fixture_args){.dir = dir, .slots = 1, .slot_len = 64, .pass_tokens = 8, .pass_rows = 8}, &f) == CO_OK);
    const char *at = json;
    double worst = 0;
    int32_t token = 1;
    for (int32_t pos = 0; pos < 64 && f.engine; pos++) {
        at = strstr(at, "\"token\":");
        CHECK_MSG(at && strtol(at + 8, NULL, 10) == token, "step %d: the reference was given another token", pos);
        at = at ? strstr(at, "\"logits\":[") : NULL;
        if (!at) break;
        const int32_t start[2] = {0, 1}, zero = 0;
        const engine_pass p = {.n_tokens = 1, .n_seqs = 1, .n_rows = 1, .ids = &token, .seq_start = start, .slot = &zero,
                               .past_len = &pos, .rows = &zero};
        const float *logits = NULL;
        CHECK_MSG(engine_generate(f.engine, &p, &logits) == CO_OK, "%s", error_message());
        if (!logits) break;
        char *num = (char *)(uintptr_t)at + 9;
        int32_t best = 0;
        for (int32_t v = 0; v < 512; v++) {
            const double want = strtod(num + 1, &num), diff = fabs(logits[v] - want);
            if (!(diff <= worst)) worst = diff;
            if (logits[v] > logits[best]) best = v;
        }
        token = best;
    }
    CHECK_MSG(worst <= 1e-4, "logits are off by up to %.3g", worst);
    printf("largest difference of 64 x 512 logits: %.3g\n", worst);
    fixture_close(&f);
    mem_free(json);
    mem_free(file);
    mem_free(dir);
    return check_done();
}
