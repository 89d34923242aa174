/* chat.c: a conversation. What the cache holds of earlier turns is not computed again. */
#include "tool.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct talk {
    const args *a;
    output *o;
    chat_message *m; /* texts are its own */
    size_t n, cap;
    int32_t *cached; /* ids whose keys and values the cache holds */
    size_t n_cached;
} talk;

static int add(talk *k, int role, const char *text, size_t len)
{
    if (k->n == k->cap) {
        chat_message *more = mem_grow(k->m, k->cap, 2 * k->cap + 8, sizeof *more);
        if (!more) return CO_E_NOMEM;
        k->m = more;
        k->cap = 2 * k->cap + 8;
    }
    char *copy = mem_alloc(len + 1, 1);
    if (!copy) return CO_E_NOMEM;
    memcpy(copy, text, len);
    k->m[k->n++] = (chat_message){.role = role, .text = copy, .len = len};
    return CO_OK;
}

static void drop_to(talk *k, size_t n)
{
    while (k->n > n) mem_free((void *)(uintptr_t)k->m[--k->n].text);
}

static size_t same_ids(const talk *k, const chat_ids *c)
{
    size_t n = 0;
    while (n < k->n_cached && n + 1 < c->n && k->cached[n] == c->ids[n]) n++; /* the last is always fed: its row is asked for */
    return n;
}

static int check_room(const talk *k, const chat_ids *c)
{
    const long long most = (long long)generator_max_len(k->o->g);
    if ((long long)c->n < most) return CO_OK;
    return FAIL(CO_E_CONFIG, "the context is full: the conversation has %zu tokens with this message, the context %lld; begin a new one (/new), or see --context",
                c->n, most);
}

/* Notes what the cache holds now: the prompt and all new tokens but the last, which was not fed. */
static void note_cache(talk *k, const decode_job *j)
{
    if (j->max_new == 0) return; /* nothing ran */
    k->n_cached = 0;
    for (int64_t i = 0; i < j->n_prompt; i++) k->cached[k->n_cached++] = j->prompt[i];
    for (int64_t i = 0; i < j->n_ids - (j->finish == FINISH_EOS ? 0 : 1); i++) k->cached[k->n_cached++] = j->ids[i];
}

static int turn(talk *k, const char *line)
{
    const size_t before = k->n;
    output *o = k->o;
    decode_job j;
    listener l;
    chat_ids c = {0};
    int s = add(k, ROLE_USER, line, strlen(line));
    if (s == CO_OK) s = template_encode(o->templ, k->m, k->n, 1, SIZE_MAX, o->arena, &c);
    if (s == CO_E_FORMAT) s = error_prefix(CO_E_CONFIG, "--template %s", k->a->templ);
    if (s == CO_OK) s = check_room(k, &c);
    if (s == CO_OK) s = job_for(k->a, o, &c, &j);
    if (s == CO_OK && j.n_prompt + j.max_new > generator_max_len(o->g)) j.max_new = generator_max_len(o->g) - j.n_prompt; /* as far as it goes */
    if (s == CO_OK) {
        j.n_cached = (int64_t)same_ids(k, &c);
        j.key = k->n / 2;
        listen_to(&l, o, !k->a->json, &j);
        s = generate(o->g, &j, 1, &k->a->sample);
        if (s == CO_OK) note_cache(k, &j);
        else k->n_cached = 0;
        log_line(CO_LOG_DEBUG, "chat", "%lld of the %lld tokens so far were in the cache", (long long)j.n_cached, (long long)j.n_prompt);
    }
    if (s == CO_OK) {
        listener_end(&l);
        if (k->a->json) s = print_json(o, k->a->n_adapters ? k->a->adapters[0] : NULL, line, &j, &l);
        else fputc('\n', stdout);
        fflush(stdout);
        const char *text = l.text ? l.text : "";
        size_t len = l.len;
        template_answer(o->templ, &text, &len);
        if (s == CO_OK) s = add(k, ROLE_ASSISTANT, text, len);
    }
    if (s) drop_to(k, before);
    return s;
}

static int begin(talk *k)
{
    drop_to(k, 0);
    return k->a->system ? add(k, ROLE_SYSTEM, k->a->system, strlen(k->a->system)) : CO_OK;
}

int chat(const args *a, output *o)
{
    talk k = {.a = a, .o = o};
    char *line = NULL;
    size_t cap = 0;
    const int person = isatty(STDIN_FILENO);
    k.cached = mem_calloc((size_t)generator_max_len(o->g) + 1, sizeof *k.cached);
    int s = k.cached ? begin(&k) : CO_E_NOMEM;
    if (s == CO_OK && o->templ && a->n_adapters > 1) s = FAIL(CO_E_CONFIG, "--chat with a template is one conversation: give one --adapter");
    while (s == CO_OK) {
        if (person) fputs("> ", stderr);
        const ssize_t n = getline(&line, &cap, stdin);
        if (n < 0) break;
        if (n && line[n - 1] == '\n') line[n - 1] = 0;
        if (n > 1 && line[n - 2] == '\r') line[n - 2] = 0;
        if (o->templ && strcmp(line, "/new") == 0) s = begin(&k);
        else s = o->templ ? turn(&k, line) : answer(a, o, &line, 1);
        if (s == CO_E_CONFIG && person) { /* a person can say it shorter, or begin anew */
            fprintf(stderr, "%s\n", error_message());
            s = CO_OK;
        }
        arena_reset(o->arena);
    }
    free(line);
    drop_to(&k, 0);
    mem_free(k.m);
    mem_free(k.cached);
    return s;
}
