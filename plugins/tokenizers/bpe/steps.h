/* steps.h: the pre-tokenizer: how a stretch of text becomes words. Its steps cut pieces, or change the text of each. */
#ifndef TOKENIZERS_BPE_STEPS_H
#define TOKENIZERS_BPE_STEPS_H
#include "json.h"
#include "known.h"
#include "model.h"
#include "regex.h"

typedef struct bpe_piece {
    size_t at, len;
} bpe_piece;

typedef enum bpe_step_kind {
    BPE_CUT,      /* at the matches of something */
    BPE_LEAD,     /* a space before each piece that does not begin with one (ByteLevel) */
    BPE_METASPACE /* spaces become `mark`, one more before pieces, or the first only */
} bpe_step_kind;

typedef enum bpe_behavior { BPE_REMOVED, BPE_ISOLATED, BPE_WITH_PREVIOUS, BPE_WITH_NEXT, BPE_CONTIGUOUS } bpe_behavior;
typedef enum bpe_lead { BPE_NEVER, BPE_FIRST, BPE_ALWAYS } bpe_lead;

typedef struct bpe_step {
    bpe_step_kind kind;
    bpe_behavior behavior;
    int invert;          /* what matches and what does not change places */
    bpe_known known;     /* what to match: one of these four */
    bpe_regex *regex;
    int (*is)(uint8_t cls, uint32_t c); /* single characters */
    char *literal;       /* as they stand; also the mark of BPE_METASPACE */
    size_t literal_len;
    bpe_lead lead;
} bpe_step;

enum { BPE_MAX_STEPS = 16 };
typedef struct bpe_steps {
    bpe_step step[BPE_MAX_STEPS];
    size_t n;
    int byte_level; /* the last step hands bytes to the model */
} bpe_steps;

/* Reads the "pre_tokenizer" of a tokenizer.json; `a` NULL: there is none. */
int bpe_steps_read(const bpe_at *a, bpe_steps *out);
/* The steps of files that have none written down: ByteLevel's, with its own pattern or (not NULL) another known one. */
void bpe_steps_of_byte_level(bpe_steps *s, int lead, const char *pattern);
/* For others who read the same settings: a regular expression, refused at `a`; Metaspace's two keys for the leading one. */
int bpe_regex_read(const bpe_at *a, const char *pattern, size_t len, bpe_regex **out);
int bpe_lead_read(const bpe_at *a, bpe_lead *out);
void bpe_steps_close(const co_host *h, bpe_steps *s);
/* Appends the ids of text[0..len), valid UTF-8, to w->ids. at_start: it begins where the whole text does. */
int bpe_steps_run(const bpe_steps *s, const bpe_unicode *u, const bpe_model *m, bpe_words *w, const char *text, size_t len, int at_start);
#endif
