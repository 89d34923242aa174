/* jinja.h: chat templates in a small part of Jinja; see README.md for which. */
#ifndef CORE_DATA_TEMPLATES_JINJA_H
#define CORE_DATA_TEMPLATES_JINJA_H
#include "core/data/templates/render.h"

typedef struct jinja jinja;

/* CO_E_UNSUPPORTED: what is not known here, named with its line; CO_E_FORMAT: not Jinja at all. The result lives in the arena. */
int jinja_parse(const char *text, size_t len, co_arena *a, const jinja **out);

typedef struct jinja_input {
    const chat_message *messages; /* `input` is not looked at */
    size_t n;
    int add_generation_prompt;
    const char *bos_token, *eos_token; /* NULL: not defined */
} jinja_input;

/* CO_OK; CO_END: the template raised an exception (the message says which); CO_E_UNSUPPORTED: something that is not known here, or
 * beyond the bounds of steps and output. */
int jinja_run(const jinja *j, const jinja_input *in, co_arena *a, const char **out, size_t *len);
#endif
