/* tokenizer_guard.h: a tokenizer plugin whose results are checked. */
#ifndef CORE_PARAMS_TOKENIZER_GUARD_H
#define CORE_PARAMS_TOKENIZER_GUARD_H
#include <coati/tokenizer.h>

/* Takes over an opened tokenizer: closing *out closes it. After an error it is still the caller's. CO_E_ABI says what it
 * claims that cannot be. */
int tokenizer_guard(const co_tokenizer_vt *inner, void *self, const co_tokenizer_vt **vt, void **out);
#endif
