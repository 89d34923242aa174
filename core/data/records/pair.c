#include "core/data/records/pair.h"
#include "core/base/memory.h"
#include <string.h>

static int encode_with(const data_template *t, const record *r, const chat_message *answer, size_t n, size_t most, co_arena *a, chat_ids *out)
{
    chat_message *all = arena_push(a, (r->n + n) * sizeof *all, 8);
    if (!all) return CO_E_NOMEM;
    memcpy(all, r->messages, r->n * sizeof *all);
    memcpy(all + r->n, answer, n * sizeof *all);
    return template_encode(t, all, r->n + n, 0, most, a, out);
}

static void forget(chat_ids *c, size_t n_prompt)
{
    c->n_learn = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (i < n_prompt) c->learn[i] = 0;
        c->n_learn += c->learn[i];
    }
}

int pair_encode(const data_template *t, const record *r, size_t most, co_arena *a, pair_ids *out)
{
    chat_ids prompt;
    size_t k = 0;
    pair_ids p = {.n_prompt = 0};
    int rc = template_encode(t, r->messages, r->n, 1, most, a, &prompt);
    if (rc == CO_OK) rc = encode_with(t, r, r->chosen, r->n_chosen, most, a, &p.chosen);
    if (rc == CO_OK) rc = encode_with(t, r, r->rejected, r->n_rejected, most, a, &p.rejected);
    if (rc) return rc;
    /* A token that spans the border is the answer's. */
    while (k < prompt.n && k < p.chosen.n && k < p.rejected.n && p.chosen.ids[k] == prompt.ids[k] && p.rejected.ids[k] == prompt.ids[k]) k++;
    p.n_prompt = k;
    forget(&p.chosen, k);
    forget(&p.rejected, k);
    *out = p;
    return CO_OK;
}
