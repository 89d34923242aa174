#include "core/data/sample.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/blocks.h"

enum { LOOK_AT_FIRST = 16, ARENA_BLOCK = 1 << 16 };

void sample_locate(const sample_maker *m, void *dataset_self, int64_t index, const char **file, int64_t *row)
{
    *file = m->name;
    *row = index + 1;
    if (m->locate) m->locate(dataset_self, index, file, row);
}

static int fail_kind(const sample_maker *m, void *dataset_self, int64_t index, const co_field *f, uint32_t n)
{
    static const char *const why[N_RECORDS] = {
        [RECORD_PAIRS] = "prompts with a chosen and a rejected answer; stage sft learns one answer: [dataset] columns = prompt=prompt,completion=chosen takes the chosen one",
        [RECORD_DIALOGUES] = "dialogues, chosen and rejected; stage sft learns one answer",
        [RECORD_TEXT] = "plain texts; stage sft learns answers, stage pretrain texts",
        [RECORD_PROMPTS] = "prompts without answers; stage sft learns answers: say which column holds them with [dataset] columns = prompt=…,completion=… or instruction=…,output=…"};
    const char *file;
    char there[256];
    int64_t row;
    sample_locate(m, dataset_self, index, &file, &row);
    if (m->texts)
        return FAIL(CO_E_FORMAT, "%s: row %lld: these are %s records; stage pretrain learns plain texts: say which column holds them with [dataset] columns = "
                    "text=…. The record has %s", file, (long long)row, record_kind_name(m->kind), columns_there(f, n, there, sizeof there));
    return FAIL(CO_E_FORMAT, "%s: row %lld: these are %s. The record has %s", file, (long long)row, why[m->kind], columns_there(f, n, there, sizeof there));
}

int sample_recognise(sample_maker *m, void *dataset_self, int64_t n_records, int64_t *index)
{
    co_arena *a = arena_new(ARENA_BLOCK);
    co_field *f;
    uint32_t n;
    int64_t i = 0;
    int rc = a ? CO_E_FORMAT : CO_E_NOMEM;
    m->kind = m->texts ? RECORD_TEXT : RECORD_INSTRUCTION; /* until one can be read: its own step tells what is wrong */
    *index = -1;
    for (; i < n_records && i < LOOK_AT_FIRST && rc == CO_E_FORMAT; i++) {
        arena_reset(a);
        rc = m->dataset->read(dataset_self, i, a, &f, &n);
        if (rc == CO_OK) *index = i;
    }
    if (rc == CO_OK) {
        const char *file;
        int64_t row;
        sample_locate(m, dataset_self, *index, &file, &row);
        rc = record_recognise(m->columns, f, n, &m->kind);
        if (rc) rc = error_prefix(rc, "%s: row %lld", file, (long long)row);
        else if (m->texts ? m->kind != RECORD_TEXT
                          : m->kind == RECORD_PAIRS || m->kind == RECORD_DIALOGUES || m->kind == RECORD_TEXT || m->kind == RECORD_PROMPTS)
            rc = fail_kind(m, dataset_self, *index, f, n);
    } else if (rc == CO_E_FORMAT || rc == CO_END) {
        rc = CO_OK;
    }
    if (a) arena_free(a);
    return rc;
}

int sample_make(const sample_maker *m, void *dataset_self, int64_t index, co_arena *a, sample *out)
{
    co_field *fields = NULL;
    uint32_t n_fields = 0;
    record r;
    chat_ids c;
    if (m->blocks) return blocks_make(m->blocks, m, dataset_self, index, a, out);
    int rc = m->dataset->read(dataset_self, index, a, &fields, &n_fields);
    const char *file;
    int64_t row;
    if (rc && rc != CO_END) return rc; /* the message names file and row already */
    sample_locate(m, dataset_self, index, &file, &row);
    if (rc) return FAIL(CO_E_FORMAT, "%s: row %lld: the data ended early", file, (long long)row);
    rc = record_read(m->columns, m->kind, fields, n_fields, a, &r);
    if (rc == CO_OK) rc = template_encode(m->templ, r.messages, r.n, 0, (size_t)m->max_len, a, &c);
    if (rc) return error_prefix(rc, "%s: row %lld", file, (long long)row);
    const int32_t n = c.n < (size_t)m->max_len ? (int32_t)c.n : m->max_len;
    *out = (sample){.ids = c.ids, .learn = c.learn, .n = n, .cut = c.n > (size_t)n, .n_prompt = c.last_answer < (size_t)n ? (int32_t)c.last_answer : n};
    for (int32_t i = 0; i < n; i++) out->n_labels += c.learn[i];
    return CO_OK;
}
