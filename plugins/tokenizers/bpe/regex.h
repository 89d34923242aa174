/* regex.h: the regular expressions of tokenizer.json. They are written for Oniguruma and run by PCRE2, so each is
 * translated: nested classes become flat, \s \w \d \p{L} … mean what they mean to Oniguruma in Unicode 16, and whatever
 * the two read differently and this does not translate is refused by name. */
#ifndef TOKENIZERS_BPE_REGEX_H
#define TOKENIZERS_BPE_REGEX_H
#include "memory.h"

typedef struct bpe_regex bpe_regex;

/* The pattern in PCRE2's words. CO_OK; or CO_E_UNSUPPORTED or CO_E_FORMAT with what is wrong with it in `why` (no
 * message is set); or CO_E_NOMEM. */
int bpe_regex_translate(const co_host *h, const char *pattern, size_t len, bpe_bytes *out, char why[200]);
int bpe_regex_open(const co_host *h, const char *pattern, size_t len, bpe_regex **out, char why[200]);
void bpe_regex_close(bpe_regex *r);
/* The first match in text[0..len) at or after `from` (text is valid UTF-8): CO_OK and its bounds, CO_END: none, else a
 * message. *space, NULL at first, is reused from call to call with any regex, and freed by bpe_regex_free_space. */
int bpe_regex_find(const bpe_regex *r, void **space, const char *text, size_t len, size_t from, size_t *start, size_t *end);
void bpe_regex_free_space(void *space);
#endif
