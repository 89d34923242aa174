/* show.h: a sample as a person reads it: its tokens, those that are learnt on lines of their own. */
#ifndef CORE_DATA_SHOW_H
#define CORE_DATA_SHOW_H
#include "core/data/sample.h"

/* Lines that begin with "-" (seen) or "+" (learnt), tokens between bars; control characters, backslashes and bars escaped; of a
 * long sample its beginning and end. Free with mem_free; NULL: out of memory or an id that cannot be decoded. */
char *sample_show(const data_template *t, const co_tokenizer_vt *vt, void *self, const sample *s);
#endif
