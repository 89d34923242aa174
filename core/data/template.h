/* template.h: a template by name, bound to a tokenizer: conversations to ids.
 *
 * Names: alpaca, vicuna, llama2, llama3, llama3.1, chatml, zephyr, mistral, hh, none; "chat": the model's own chat_template, if it is one of
 * these by its effect (templates/match.h); else the path of a template file (templates/format.h). */
#ifndef CORE_DATA_TEMPLATE_H
#define CORE_DATA_TEMPLATE_H
#include "core/data/templates/encode.h"

typedef struct data_template data_template;

typedef struct template_args {
    const char *name;      /* NULL: alpaca */
    const char *model_dir; /* of "chat": where the tokenizer's files are; NULL: nowhere */
    const co_tokenizer_vt *tokenizer; /* lent */
    void *tokenizer_self;
    int32_t bos, eos, before; /* ids; below 0: none */
} template_args;

/* CO_E_CONFIG for what cannot work. */
int template_open(const template_args *a, data_template **out);
void template_close(data_template *t);
const char *template_name(const data_template *t);  /* for people: "alpaca", "chat: llama3" */
int template_simple(const data_template *t);        /* a conversation is an instruction and an answer, either may be empty */
/* CO_E_FORMAT: what the template cannot hold. */
int template_render(const data_template *t, const chat_message *m, size_t n, int prompt, co_arena *a, chat_text *out);
/* Rendered and encoded. What stands behind the last answer is left out unless `prompt`. */
int template_encode(const data_template *t, const chat_message *m, size_t n, int prompt, size_t most, co_arena *a, chat_ids *out);
/* Text alone, all of it learnt: the tokenizer's own start if `before`, the text, an EOS if `eos`. */
int template_plain(const data_template *t, const char *text, size_t len, int before, int eos, co_arena *a, chat_ids *out);
/* Where generation ends, besides the tokenizer's EOS: the token behind an answer, -1: none; texts, NULL-terminated. */
int32_t template_stop_id(const data_template *t);
const char *const *template_stop_texts(const data_template *t);
/* An answer as it was generated -> the message's content: without what the template itself puts around that. */
void template_answer(const data_template *t, const char **text, size_t *len);
/* How a special token of the template is written (no NUL behind it), and "<bos>", "<eos>"; NULL: it is none of them. */
const char *template_token_text(const data_template *t, int32_t id, size_t *len);
#endif
