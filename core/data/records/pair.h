/* pair.h: a preference as ids: a prompt and two answers to it. */
#ifndef CORE_DATA_RECORDS_PAIR_H
#define CORE_DATA_RECORDS_PAIR_H
#include "core/data/records/record.h"
#include "core/data/template.h"

typedef struct pair_ids { /* in the arena */
    chat_ids chosen, rejected; /* prompt and answer; `learn` marks the answer after the prompt, and no earlier one */
    size_t n_prompt;           /* ids at the start of both that are the same: the prompt */
} pair_ids;

/* record: of RECORD_PAIRS or RECORD_DIALOGUES. */
int pair_encode(const data_template *t, const record *r, size_t most, co_arena *a, pair_ids *out);
#endif
