/* tool.h: what the parts of coati-generate share. */
#ifndef TOOLS_COATI_GENERATE_TOOL_H
#define TOOLS_COATI_GENERATE_TOOL_H
#include "core/data/template.h"
#include "core/train/generate.h"

enum { MAX_ADAPTERS = 16, DEFAULT_NEW = 128 };

typedef struct args {
    const char *model, *prompt, *prompts, *templ, *system, *backend, *dtype, *threads;
    int64_t max_new, batch, context; /* max_new below 0: the default */
    sample_opts sample;
    int json, chat;
    const char *adapters[MAX_ADAPTERS];
    size_t n_adapters;
} args;

typedef struct output {
    generator *g;
    const tokenizer *t;
    const data_template *templ; /* NULL: none */
    co_arena *arena;            /* of one answer */
} output;

/* Follows one answer as it is made: shows whole characters, ends it where the template's stop text begins. */
typedef struct listener {
    output *o;
    int streaming, stopped;
    char *text; /* in the arena */
    size_t len, cap, shown;
    int64_t seen;
} listener;

/* A job for ids, with room for its answer: max_new as asked for, or what fits. */
int job_for(const args *a, output *o, const chat_ids *c, decode_job *j);
void listen_to(listener *l, output *o, int streaming, decode_job *j);
void listener_end(listener *l); /* shows what is left */
int print_json(output *o, const char *adapter, const char *prompt, const decode_job *j, const listener *l);
int answer(const args *a, output *o, char **prompts, size_t n);
int answer_file(const args *a, output *o);
int chat(const args *a, output *o); /* lines of standard input: with a template one conversation, without each alone */
#endif
