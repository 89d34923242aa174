/* answer.c: prompts, each alone. */
#include "tool.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/json_write.h"
#include <stdio.h>
#include <string.h>

/* A text as it is, special tokens written in it included. */
static int encode_plain(output *o, const char *text, chat_ids *c)
{
    int32_t *ids;
    size_t n;
    const int s = o->t->vt->encode(o->t->self, text, strlen(text), o->arena, &ids, &n);
    if (s) return s;
    c->ids = arena_push(o->arena, (n + 1) * sizeof *c->ids, 4);
    if (!c->ids) return CO_E_NOMEM;
    const int32_t first = o->t->before >= 0 || n ? o->t->before : o->t->bos; /* an empty prompt is BOS alone */
    if (first >= 0) c->ids[c->n++] = first;
    memcpy(c->ids + c->n, ids, n * sizeof *ids);
    c->n += n;
    return CO_OK;
}

int job_for(const args *a, output *o, const chat_ids *c, decode_job *j)
{
    const int64_t room = generator_max_len(o->g) - (int64_t)c->n, most = room < DEFAULT_NEW ? room : DEFAULT_NEW;
    *j = (decode_job){.prompt = c->ids, .n_prompt = (int64_t)c->n, .max_new = a->max_new >= 0 ? a->max_new : most > 1 ? most : 1,
                      .stop_id = o->templ ? template_stop_id(o->templ) : -1};
    j->ids = arena_push(o->arena, (size_t)(j->max_new + 1) * sizeof *j->ids, 8);
    j->logprobs = arena_push(o->arena, (size_t)(j->max_new + 1) * sizeof *j->logprobs, 8);
    return j->ids && j->logprobs ? CO_OK : CO_E_NOMEM;
}

static int encode(const args *a, output *o, const char *text, decode_job *j)
{
    const chat_message m[] = {{.role = ROLE_SYSTEM, .text = a->system, .len = a->system ? strlen(a->system) : 0}, {.role = ROLE_USER, .text = text, .len = strlen(text)}};
    chat_ids c = {0};
    const int s = !o->templ ? encode_plain(o, text, &c)
                            : template_encode(o->templ, a->system ? m : m + 1, a->system ? 2 : 1, 1, SIZE_MAX, o->arena, &c);
    if (s == CO_E_FORMAT) return error_prefix(CO_E_CONFIG, "--template %s", a->templ); /* what it cannot hold came from the command line */
    return s ? s : job_for(a, o, &c, j);
}

static void show(listener *l, size_t to)
{
    if (!l->streaming || to <= l->shown) return;
    fwrite(l->text + l->shown, 1, to - l->shown, stdout);
    fflush(stdout);
    l->shown = to;
}

static int append(listener *l, const char *text, size_t n)
{
    if (l->len + n + 1 > l->cap) {
        const size_t cap = 2 * (l->len + n) + 256;
        char *more = arena_push(l->o->arena, cap, 1);
        if (!more) return CO_E_NOMEM;
        if (l->len) memcpy(more, l->text, l->len);
        l->text = more;
        l->cap = cap;
    }
    memcpy(l->text + l->len, text, n);
    l->len += n;
    return CO_OK;
}

/* Where a stop text begins, or may begin once more has come; *whole: all of it is there. */
static size_t find_stop(const listener *l, size_t from, int *whole)
{
    const char *const *stops = l->o->templ ? template_stop_texts(l->o->templ) : NULL;
    *whole = 0;
    for (size_t i = from; i < l->len; i++)
        for (const char *const *s = stops; s && *s; s++) {
            const size_t n = strlen(*s), there = l->len - i;
            if (memcmp(l->text + i, *s, n < there ? n : there) != 0) continue;
            *whole = there >= n;
            return i;
        }
    return l->len;
}

static int on_token(void *ctx, decode_job *j, int32_t id)
{
    listener *l = ctx;
    char *text;
    size_t n;
    int whole;
    (void)j;
    int s = l->o->t->vt->decode(l->o->t->self, &id, 1, l->seen++ > 0, l->o->arena, &text, &n);
    if (s == CO_OK) s = append(l, text, n);
    if (s) return s;
    const size_t at = find_stop(l, l->shown, &whole);
    l->stopped = whole;
    if (whole) l->len = at;
    show(l, whole ? at : utf8_whole(l->text, at));
    return whole ? CO_END : CO_OK;
}

void listen_to(listener *l, output *o, int streaming, decode_job *j)
{
    *l = (listener){.o = o, .streaming = streaming};
    j->on_token = on_token;
    j->ctx = l;
}

void listener_end(listener *l)
{
    show(l, l->len);
}

int print_json(output *o, const char *adapter, const char *prompt, const decode_job *j, const listener *l)
{
    json_text t = {0};
    char *text;
    size_t n;
    int s = o->t->vt->decode(o->t->self, j->ids, (size_t)j->n_ids, 0, o->arena, &text, &n);
    if (s) return s;
    char *terminated = l->stopped ? arena_strndup(o->arena, l->text, l->len) : arena_strndup(o->arena, text, n);
    if (!terminated) return CO_E_NOMEM;
    json_text_put(&t, "{");
    if (adapter) {
        json_text_put(&t, "\"adapter\":");
        json_text_string(&t, adapter);
        json_text_put(&t, ",");
    }
    json_text_put(&t, "\"prompt\":");
    json_text_string(&t, prompt);
    json_text_put(&t, ",\"text\":");
    json_text_string(&t, terminated);
    json_text_put(&t, ",\"ids\":[");
    for (int64_t i = 0; i < j->n_ids; i++) json_text_printf(&t, "%s%d", i ? "," : "", j->ids[i]);
    json_text_put(&t, "],\"logprobs\":[");
    for (int64_t i = 0; i < j->n_ids; i++) json_text_printf(&t, "%s%.9g", i ? "," : "", j->logprobs[i]);
    json_text_printf(&t, "],\"finish\":\"%s\"}\n", j->finish == FINISH_EOS ? "eos" : j->finish == FINISH_STOP ? "stop" : "length");
    if (!t.failed) fputs(t.text, stdout);
    s = t.failed ? CO_E_NOMEM : CO_OK;
    json_text_free(&t);
    return s;
}

static int print_text(output *o, const decode_job *j, const listener *l)
{
    char *text = l->text;
    size_t n = l->len;
    const int s = l->stopped ? CO_OK : o->t->vt->decode(o->t->self, j->ids, (size_t)j->n_ids, 0, o->arena, &text, &n);
    if (s == CO_OK) fwrite(text, 1, n, stdout), fputc('\n', stdout);
    return s;
}

static int answer_with(const args *a, output *o, const char *adapter, char **prompts, size_t n)
{
    decode_job *jobs = mem_calloc(n ? n : 1, sizeof *jobs);
    listener *l = mem_calloc(n ? n : 1, sizeof *l);
    int s = jobs && l ? CO_OK : CO_E_NOMEM;
    const int streaming = !a->json && n == 1;
    for (size_t i = 0; i < n && s == CO_OK; i++) {
        s = encode(a, o, prompts[i], &jobs[i]);
        jobs[i].key = i;
        listen_to(&l[i], o, streaming, &jobs[i]);
    }
    if (s == CO_OK) s = generate(o->g, jobs, n, &a->sample);
    if (s == CO_OK && streaming) listener_end(&l[0]), fputc('\n', stdout);
    for (size_t i = 0; i < n && s == CO_OK && !streaming; i++)
        s = a->json ? print_json(o, adapter, prompts[i], &jobs[i], &l[i]) : print_text(o, &jobs[i], &l[i]);
    fflush(stdout);
    mem_free(l);
    mem_free(jobs);
    return s;
}

int answer(const args *a, output *o, char **prompts, size_t n)
{
    if (a->n_adapters == 0) return answer_with(a, o, NULL, prompts, n);
    int s = CO_OK;
    for (size_t i = 0; i < a->n_adapters && s == CO_OK; i++) {
        if (a->n_adapters > 1) s = generator_use_adapter(o->g, i);
        if (s == CO_OK && a->n_adapters > 1 && !a->json) printf("[%s]\n", a->adapters[i]);
        if (s == CO_OK) s = answer_with(a, o, a->adapters[i], prompts, n);
    }
    return s;
}

int answer_file(const args *a, output *o)
{
    char *text = NULL, **lines = NULL;
    size_t len, n = 0;
    int s = fs_read_all(a->prompts, &text, &len, (size_t)1 << 28);
    if (s) return error_prefix(CO_E_FORMAT, "--prompts");
    for (size_t i = 0; i < len; i++) n += text[i] == '\n';
    lines = mem_calloc(n + 1, sizeof *lines);
    if (!lines) s = CO_E_NOMEM;
    n = 0;
    for (char *p = text; s == CO_OK && p < text + len;) {
        char *end = memchr(p, '\n', (size_t)(text + len - p));
        if (end) *end = 0;
        if (end && end > p && end[-1] == '\r') end[-1] = 0;
        lines[n++] = p;
        p = end ? end + 1 : text + len;
    }
    if (s == CO_OK && n) s = answer(a, o, lines, n);
    mem_free(lines);
    mem_free(text);
    return s;
}
