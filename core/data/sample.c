#include "core/data/sample.h"
#include "core/base/error.h"
#include "core/base/memory.h"

#include <string.h>

/* Appends up to max_len; the rest is cut. */
static void append(int32_t *ids, size_t *n, int32_t max_len, const int32_t *more, size_t n_more)
{
    size_t room = (size_t)max_len - *n;
    if (n_more > room) n_more = room;
    if (n_more) memcpy(ids + *n, more, n_more * sizeof *ids);
    *n += n_more;
}

void sample_locate(const sample_maker *m, void *dataset_self, int64_t index, const char **file, int64_t *row)
{
    *file = m->name;
    *row = index + 1;
    if (m->locate) m->locate(dataset_self, index, file, row);
}

int sample_make(const sample_maker *m, void *dataset_self, int64_t index, co_arena *a, sample *out)
{
    co_field *fields = NULL;
    uint32_t n_fields = 0;
    template_text text;
    int32_t *prompt = NULL, *answer = NULL, *ids;
    size_t n_prompt = 0, n_answer = 0, total, n = 0, first;
    int rc = m->dataset->read(dataset_self, index, a, &fields, &n_fields);
    const char *file;
    int64_t row;
    if (rc && rc != CO_END) return rc; /* the message names file and row already */
    sample_locate(m, dataset_self, index, &file, &row);
    if (rc) return FAIL(CO_E_FORMAT, "%s: row %lld: the data ended early", file, (long long)row);
    rc = template_render(m->templ, fields, n_fields, a, &text);
    if (!rc && text.prompt_len)
        rc = m->tokenizer->encode(m->tokenizer_self, text.prompt, text.prompt_len, a, &prompt, &n_prompt);
    if (!rc && text.answer_len)
        rc = m->tokenizer->encode(m->tokenizer_self, text.answer, text.answer_len, a, &answer, &n_answer);
    if (rc) return error_prefix(rc, "%s: row %lld", file, (long long)row);
    first = (m->bos >= 0) + n_prompt;
    total = first + n_answer + (m->eos >= 0);
    ids = arena_push(a, (size_t)m->max_len * sizeof *ids, sizeof *ids);
    if (!ids) return CO_E_NOMEM;
    if (m->bos >= 0) append(ids, &n, m->max_len, &m->bos, 1);
    append(ids, &n, m->max_len, prompt, n_prompt);
    append(ids, &n, m->max_len, answer, n_answer);
    if (m->eos >= 0) append(ids, &n, m->max_len, &m->eos, 1);
    if (first < 1) first = 1; /* nothing stands before the first id to predict it from */
    out->ids = ids;
    out->n = (int32_t)n;
    out->first_label = (int32_t)(first < n ? first : n);
    out->n_labels = out->n - out->first_label;
    out->cut = total > n;
    return CO_OK;
}
