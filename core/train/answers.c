#include "core/train/answers.h"
#include "core/base/memory.h"
#include "core/train/decode.h"

enum { LOOK_AT_MOST = 1000 }; /* records passed over in search of short prompts */

static int text_of(const run *r, co_arena *a, const int32_t *ids, int64_t n, const char **out)
{
    char *text;
    size_t len;
    const int s = r->tokenizer.vt->decode(r->tokenizer.self, ids, (size_t)n, 0, a, &text, &len);
    if (s) return s;
    *out = arena_strndup(a, text, len);
    return *out ? CO_OK : CO_E_NOMEM;
}

/* One record; *used is 0 if its prompt leaves no room or its answer was cut away. */
static int answer(run *r, decoder *d, loader *from, int64_t place, co_arena *a, report_answer *out, int *used)
{
    const sample_opts greedy = {.top_p = 1};
    const int32_t *ids;
    int32_t n, n_prompt;
    *used = 0;
    int s = loader_peek(from, place, a, &ids, &n, &n_prompt);
    if (s == CO_E_FORMAT) return CO_OK; /* a broken record has been dealt with by the readers */
    if (s) return s;
    decode_job j = {.prompt = ids, .n_prompt = n_prompt, .max_new = r->o.log.sample_tokens, .stop_id = loader_stop_id(from)};
    if (n == n_prompt || j.n_prompt + j.max_new > r->answer_len) return CO_OK;
    j.ids = arena_push(a, (size_t)j.max_new * sizeof *j.ids, 4);
    if (!j.ids) return CO_E_NOMEM;
    s = decode(d, &j, 1, &greedy);
    if (s == CO_OK) s = text_of(r, a, ids, n_prompt, &out->prompt);
    if (s == CO_OK) s = text_of(r, a, ids + n_prompt, n - n_prompt, &out->wanted);
    if (s == CO_OK) s = text_of(r, a, j.ids, j.n_ids, &out->got);
    *used = s == CO_OK;
    return s;
}

int run_answers(run *r, co_arena *a, report_answer **out, size_t *n)
{
    loader *const from = r->eval.loader ? r->eval.loader : r->train.loader;
    const size_t wanted = r->answer_len ? (size_t)r->o.log.samples : 0;
    decoder *d = NULL;
    *n = 0;
    *out = arena_push(a, (wanted + 1) * sizeof **out, 8);
    if (!*out) return CO_E_NOMEM;
    if (wanted == 0) return CO_OK;
    int s = decoder_open(&(decoder_args){.engine = r->engine, .slots = 1, .max_len = r->answer_len, .pass_tokens = RUN_ANSWER_PASS,
                                         .eos = r->tokenizer.eos}, &d);
    for (int64_t place = 0; s == CO_OK && *n < wanted && place < LOOK_AT_MOST; place++) {
        int used;
        s = answer(r, d, from, place, a, &(*out)[*n], &used);
        *n += s == CO_OK && used;
    }
    decoder_close(d);
    return s < 0 ? s : CO_OK;
}
