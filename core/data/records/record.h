/* record.h: what a record is, known by its columns, and its parts as messages.
 *
 *  kind          columns                                                       gives
 *  messages      messages: a list of {role, content}; or system                a conversation
 *  sharegpt      conversations: a list of {from, value}; or system             a conversation
 *  pairs         prompt or conversations, chosen, rejected                     a prompt and two answers
 *                (texts, messages, or lists of messages; without a prompt the lists share their first messages)
 *  dialogues     chosen, rejected: texts of "\n\nHuman: " and "\n\nAssistant: " turns (hh-rlhf); or such a prompt beside
 *                them                                                          a prompt and two answers
 *  completion    prompt, completion: texts or lists of messages                a conversation
 *  instruction   output, with instruction, input, system                       a conversation of one turn
 *  text          text                                                          a text
 *  prompts       prompt, or instruction (with input), or turns (a list)        a prompt
 *
 * The first of these that a record's columns fit is taken. Roles: system; user, human; assistant, gpt, chatbot, model. */
#ifndef CORE_DATA_RECORDS_RECORD_H
#define CORE_DATA_RECORDS_RECORD_H
#include "core/data/records/columns.h"
#include "core/data/templates/render.h"

typedef enum record_kind {
    RECORD_MESSAGES = 0, RECORD_SHAREGPT, RECORD_PAIRS, RECORD_DIALOGUES, RECORD_COMPLETION, RECORD_INSTRUCTION, RECORD_TEXT, RECORD_PROMPTS, N_RECORDS
} record_kind;

typedef struct record { /* in the arena */
    record_kind kind;
    chat_message *messages; /* of a pair the prompt's */
    size_t n;
    const chat_message *chosen, *rejected; /* pairs: what follows the prompt; it ends in an answer */
    size_t n_chosen, n_rejected;
    const char *text;       /* RECORD_TEXT */
    size_t len;
} record;

const char *record_kind_name(record_kind k);
/* By a record's columns. CO_E_FORMAT lists them. */
int record_recognise(const record_columns *c, const co_field *f, uint32_t n, record_kind *out);
/* The parts of a record of this kind; CO_E_FORMAT if it is not: names the column, and those that are there. The caller puts
 * file and row before it. */
int record_read(const record_columns *c, record_kind kind, const co_field *f, uint32_t n, co_arena *a, record *out);

/* A list of messages, the text of a JSON array or object (one message); `column` for errors. */
int messages_read(const char *column, const char *json, size_t len, co_arena *a, chat_message **out, size_t *n);
/* The first of a list of strings. */
int turns_read(const char *column, const char *json, size_t len, co_arena *a, const char **out, size_t *out_len);
/* A text of "\n\nHuman: " and "\n\nAssistant: " turns. CO_END: it is none. */
int dialogue_read(const char *text, size_t len, co_arena *a, chat_message **out, size_t *n);
#endif
