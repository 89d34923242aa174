/* tokenizer.h: the tokenizer of a model directory, found and opened; what else programs do with text and ids. */
#ifndef CORE_PARAMS_TOKENIZER_H
#define CORE_PARAMS_TOKENIZER_H
#include "core/config/config.h"
#include "core/host/host.h"

typedef struct tokenizer {
    const co_tokenizer_vt *vt;
    void *self;
    const char *name; /* of the plugin's feature */
    int64_t n_vocab;
    int32_t bos, eos;      /* below 0: none */
    int32_t before, after; /* what the files put before and after each text (BOS and EOS, or nothing); below 0: nothing */
} tokenizer;

/* name: a tokenizer plugin, or "auto": the one whose file is in `dir`, or is `dir`; where several files are,
 * tokenizer.json goes before tokenizer.model before vocab.json. A class name in the directory decides nothing. Options
 * come from the section [tokenizer] of `c` with path = dir where the section sets none; `c` must outlive the tokenizer.
 * CO_E_FORMAT lists the files that were looked for. */
int tokenizer_open(host *h, config *c, const char *name, const char *dir, tokenizer *out);
void tokenizer_close(tokenizer *t);
/* CO_E_FORMAT if ids could reach beyond the model's vocabulary: a tokenizer of another model. */
int tokenizer_check_fit(const tokenizer *t, int64_t model_vocab, const char *tokenizer_path, const char *model_path);

/* For streaming: bytes at the start of s that are whole characters. What follows (at most 3 bytes) is the start of
 * a character whose rest comes with the next piece; bytes that can start nothing count as whole. */
size_t utf8_whole(const char *s, size_t n);
#endif
