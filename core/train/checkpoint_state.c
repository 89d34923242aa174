#include "core/train/checkpoint_state.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/json.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int checkpoint_write_state(const char *dir, int64_t step, uint32_t n_state, int32_t ranks, engine *e)
{
    engine_scalars s;
    int r = engine_get_scalars(e, &s);
    if (r) return r;
    char *path = fs_join(dir, "state.json");
    char *text = mem_printf("{\"format\":1,\"step\":%" PRId64 ",\"ranks\":%d,\"optimizer_states\":%u,\"updates\":%" PRId64 ",\"loss_scale\":%.9g,"
                            "\"growth_step\":%" PRId64 ",\"hyst_step\":%" PRId64 "}\n", step, ranks, n_state, s.updates, s.loss_scale, s.growth_step, s.hyst_step);
    r = path && text ? fs_write_atomic(path, text, strlen(text)) : CO_E_NOMEM;
    mem_free(text);
    mem_free(path);
    return r;
}

static int read_number(json_reader *j, int token, double *out)
{
    char number[64];
    const size_t n = j->pos - j->token_at;
    if (token != JSON_NUMBER || n >= sizeof number) return json_fail(j, "expected a number");
    memcpy(number, j->text + j->token_at, n);
    number[n] = 0;
    *out = strtod(number, NULL);
    return CO_OK;
}

static int read_all(json_reader *j, engine_scalars *s, int64_t *ranks)
{
    int token = json_next(j);
    if (token != JSON_OBJECT) return token < 0 ? token : json_fail(j, "expected an object");
    while ((token = json_next(j)) == JSON_KEY) {
        int64_t *const whole = strcmp(j->str, "updates") == 0 ? &s->updates : strcmp(j->str, "growth_step") == 0 ? &s->growth_step
                               : strcmp(j->str, "hyst_step") == 0 ? &s->hyst_step : strcmp(j->str, "ranks") == 0 ? ranks : NULL;
        const int scale = strcmp(j->str, "loss_scale") == 0;
        token = json_next(j);
        int r = token < 0 ? token : whole ? json_int(j, token, whole) : scale ? read_number(j, token, &s->loss_scale) : json_skip(j, token);
        if (r == CO_OK && ((whole && *whole < 0) || (scale && !(s->loss_scale > 0)))) r = json_fail(j, "a number out of range");
        if (r) return r;
    }
    return token < 0 ? token : CO_OK;
}

static int read_file(const char *dir, engine_scalars *s, int64_t *ranks)
{
    char *path = fs_join(dir, "state.json"), *text = NULL;
    size_t n = 0;
    json_reader j;
    int r = path ? fs_read_all(path, &text, &n, 1 << 20) : CO_E_NOMEM;
    if (r == CO_OK) {
        json_init(&j, path, text, n);
        r = read_all(&j, s, ranks);
        json_close(&j);
    }
    mem_free(text);
    mem_free(path);
    return r;
}

int checkpoint_read_state(const char *dir, int64_t step, engine *e)
{
    engine_scalars s;
    int64_t ranks;
    int r = engine_get_scalars(e, &s);
    s.updates = step;
    if (r == CO_OK) r = read_file(dir, &s, &ranks);
    return r == CO_OK ? engine_set_scalars(e, &s) : r;
}

int checkpoint_read_ranks(const char *dir, int64_t *ranks)
{
    engine_scalars ignored;
    *ranks = 1;
    return read_file(dir, &ignored, ranks);
}
