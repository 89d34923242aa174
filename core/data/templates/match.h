/* match.h: which of the known templates a model's own chat_template is, by what it gives.
 *
 * The template is run (jinja/) on probe conversations: with and without a system message, one turn and several, odd white space,
 * other scripts, waiting for an answer and answered. It is the known template that gives the same text for every one of them, with
 * white space around messages cut or not, BOS at the start or not, and whatever default system message it shows. What is not known
 * in it, or gives another text, is refused with advice; nothing is guessed. */
#ifndef CORE_DATA_TEMPLATES_MATCH_H
#define CORE_DATA_TEMPLATES_MATCH_H
#include "core/data/templates/format.h"

/* dir: chat_template.jinja, else tokenizer_config.json's chat_template (a text, or a list whose "default" counts). *what: "llama3", or
 * "chatml, its own system message", freed with mem_free. CO_E_CONFIG: none there, none that is known; CO_E_FORMAT: a broken file. */
int chat_match_dir(const char *dir, chat_format *out, char **what);
int chat_match(const char *jinja_text, size_t len, const char *bos_token, const char *eos_token, chat_format *out, char **what);
#endif
