/* format.h: a conversation's shape: what stands around each message, and what of it is learnt. Knows no tokenizer.
 *
 * A template file is plain text in sections; each is the text between its header's line and the next header's line:
 *
 *     [options]
 *     system = You are a helpful assistant.   the system message of conversations without one
 *     system_with_input = …                   likewise where the first user message has an input
 *     stop   = \n\nHuman:                     generation also ends where this text would begin (up to 4 such lines)
 *     tokens = <|im_start|> <|im_end|>        must be special tokens of the tokenizer
 *     cut    = 1                              prompt and answer are encoded apart, so that no token spans the border
 *     alternate = 1                           user and assistant must take turns
 *     [begin]                                 once, before everything: {before} is what the tokenizer's files put there
 *     [system]                                {content}
 *     [user]                                  {content}, {input}
 *     [user with input]                       instead, where there is an input
 *     [first user]                            instead, where there is a system message: {system}, {content}
 *     [assistant]                             {content}; what stands from {learn} to {/learn} is learnt, else all from
 *                                             {content} on; what stands before {learn} is the prompt to answer
 *
 * Anywhere: {bos}, {eos} (the tokenizer's, nothing if it has none), {end} (EOS, behind the last message only), "{{" a brace,
 * \n \t \s (a space) \\ and line breaks as they are; the one before the next header is not part of the text. {content|trim},
 * {content|rtrim} and {content|ltrim} cut white space. Special tokens of the tokenizer that stand in this text are those
 * tokens; in messages the same characters are text.
 *
 * A file without an [assistant] line is of the simple form: {instruction}, {input} and one {output}; what stands before {output}
 * is the prompt, {output} and what follows, with an EOS, the answer; [options] cut is on. "{{" is a brace. One line break at the file's end
 * is the editor's. */
#ifndef CORE_DATA_TEMPLATES_FORMAT_H
#define CORE_DATA_TEMPLATES_FORMAT_H
#include <stddef.h>
#include <stdint.h>

typedef enum piece_kind {
    PIECE_TEXT = 0, PIECE_MARK, /* a special token written as text; made when a tokenizer is bound */
    PIECE_CONTENT, PIECE_INPUT, PIECE_SYSTEM, PIECE_BOS, PIECE_EOS, PIECE_BEFORE, PIECE_END, PIECE_LEARN, PIECE_STOP
} piece_kind;

typedef struct format_piece {
    int32_t kind, trim; /* piece_kind; TRIM_* of white.h */
    int32_t id, pad;    /* PIECE_MARK */
    const char *text;
    size_t len;
} format_piece;

typedef struct format_body {
    format_piece *p;
    int32_t n, cap, there;
} format_body;

typedef enum body_kind { BODY_BEGIN = 0, BODY_SYSTEM, BODY_USER, BODY_USER_INPUT, BODY_USER_FIRST, BODY_ASSISTANT, N_BODIES } body_kind;

enum { FORMAT_STOPS = 4 };
typedef struct chat_format {
    char *store;                 /* what the pieces' texts point into */
    format_body body[N_BODIES];
    char *system, *system_input; /* NULL: none */
    char *stop[FORMAT_STOPS], *tokens;
    int32_t n_stop, cut, alternate, simple;
} chat_format;

/* CO_OK, CO_END: no built-in one is called so, or an error. */
int format_builtin(const char *name, chat_format *out);
const char *const *format_names(void); /* of the built-in ones, NULL-terminated */
/* `name` for messages: CO_E_CONFIG with the line. */
int format_parse(const char *name, const char *text, size_t len, chat_format *out);
int format_parse_simple(const char *name, const char *text, size_t len, chat_format *out);
void format_free(chat_format *f);
int format_add(format_body *b, const format_piece *p);
int format_line(const char *text, const char *at); /* from 1 */
#endif
