/* coati-generate: text from a model directory. */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/data/template.h"
#include "core/params/json_write.h"
#include "core/train/generate.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: coati-generate --model DIR [OPTIONS]\n"
    "  --adapter DIR         LoRA in PEFT's layout over the model; given several times, each of them answers in turn\n"
    "  --prompt TEXT         one prompt; \"\" is BOS alone\n"
    "  --prompts FILE        a prompt a line\n"
    "  --chat                prompts from standard input, a line each, answered one by one\n"
    "  --template NAME       what stands around a prompt: alpaca, llama3, …, chat (the model's own), a template file; none (none)\n"
    "  --max-new-tokens N    (128, or what fits behind the prompt if that is less)\n"
    "  --temperature T       0: greedy (0). The order is temperature, top-k, top-p\n"
    "  --top-k K             0: off (0)\n"
    "  --top-p P             1: off (1)\n"
    "  --seed S              of the draws (42)\n"
    "  --backend NAME        (cpu)\n"
    "  --dtype TYPE          auto, fp32, bf16 or fp16; auto: fp32 on the CPU, on a GPU what the weights are stored in (auto)\n"
    "  --context N           positions a sequence, prompt included; 0: the model's, at most 4096 (0)\n"
    "  --threads N           cpu: threads (every core)\n"
    "  --batch N             prompts at once (8)\n"
    "  --json                one JSON object a prompt and line: prompt, text, ids, logprobs, finish\n"
    "                        (eos or length); with --adapter also adapter\n"
    "  -v, -q, --help, --version\n";

enum { MAX_ADAPTERS = 16, DEFAULT_NEW = 128 };

typedef struct args {
    const char *model, *prompt, *prompts, *templ, *backend, *dtype, *threads;
    int64_t max_new, batch, context; /* max_new below 0: the default */
    sample_opts sample;
    int json, chat;
    const char *adapters[MAX_ADAPTERS];
    size_t n_adapters;
} args;

typedef struct output {
    generator *g;
    const tokenizer *t;
    co_arena *arena;
    char rest[8]; /* bytes of a character whose end is to come */
    size_t n_rest;
    int64_t seen;
} output;

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

static int encode(const args *a, output *o, const data_template *t, const char *text, decode_job *j)
{
    const chat_message m = {.role = ROLE_USER, .text = text, .len = strlen(text)};
    chat_ids c = {0};
    int s = t ? template_encode(t, &m, 1, 1, SIZE_MAX, o->arena, &c) : encode_plain(o, text, &c);
    if (s) return s;
    const int64_t room = generator_max_len(o->g) - (int64_t)c.n, most = room < DEFAULT_NEW ? room : DEFAULT_NEW;
    *j = (decode_job){.prompt = c.ids, .n_prompt = (int64_t)c.n, .max_new = a->max_new >= 0 ? a->max_new : most > 1 ? most : 1};
    j->ids = arena_push(o->arena, (size_t)(j->max_new + 1) * sizeof *j->ids, 8);
    j->logprobs = arena_push(o->arena, (size_t)(j->max_new + 1) * sizeof *j->logprobs, 8);
    return j->ids && j->logprobs ? CO_OK : CO_E_NOMEM;
}

/* Writes whole characters only; the start of one waits for its end. */
static int stream(void *ctx, decode_job *j, int32_t id)
{
    output *o = ctx;
    char *text;
    size_t n;
    (void)j;
    int s = o->t->vt->decode(o->t->self, &id, 1, o->seen++ > 0, o->arena, &text, &n);
    if (s) return s;
    char *joined = arena_push(o->arena, n + sizeof o->rest, 1);
    if (!joined) return CO_E_NOMEM;
    memcpy(joined, o->rest, o->n_rest);
    memcpy(joined + o->n_rest, text, n);
    n += o->n_rest;
    const size_t whole = utf8_whole(joined, n);
    fwrite(joined, 1, whole, stdout);
    fflush(stdout);
    o->n_rest = n - whole < sizeof o->rest ? n - whole : 0;
    memcpy(o->rest, joined + whole, o->n_rest);
    return CO_OK;
}

static int print_json(output *o, const char *adapter, const char *prompt, const decode_job *j)
{
    json_text t = {0};
    char *text;
    size_t n;
    int s = o->t->vt->decode(o->t->self, j->ids, (size_t)j->n_ids, 0, o->arena, &text, &n);
    if (s) return s;
    char *terminated = arena_strndup(o->arena, text, n);
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
    json_text_printf(&t, "],\"finish\":\"%s\"}\n", j->finish == FINISH_EOS ? "eos" : "length");
    if (!t.failed) fputs(t.text, stdout);
    s = t.failed ? CO_E_NOMEM : CO_OK;
    json_text_free(&t);
    return s;
}

static int print_text(output *o, const decode_job *j)
{
    char *text;
    size_t n;
    int s = o->t->vt->decode(o->t->self, j->ids, (size_t)j->n_ids, 0, o->arena, &text, &n);
    if (s == CO_OK) fwrite(text, 1, n, stdout), fputc('\n', stdout);
    return s;
}

static int answer_with(const args *a, output *o, const data_template *t, const char *adapter, char **prompts, size_t n)
{
    decode_job *jobs = mem_calloc(n ? n : 1, sizeof *jobs);
    int s = jobs ? CO_OK : CO_E_NOMEM;
    const int streaming = !a->json && n == 1;
    for (size_t i = 0; i < n && s == CO_OK; i++) {
        s = encode(a, o, t, prompts[i], &jobs[i]);
        jobs[i].key = i;
        if (streaming) jobs[i].on_token = stream, jobs[i].ctx = o;
    }
    o->seen = 0;
    o->n_rest = 0;
    if (s == CO_OK) s = generate(o->g, jobs, n, &a->sample);
    if (s == CO_OK && streaming) fwrite(o->rest, 1, o->n_rest, stdout), fputc('\n', stdout);
    for (size_t i = 0; i < n && s == CO_OK && !streaming; i++) s = a->json ? print_json(o, adapter, prompts[i], &jobs[i]) : print_text(o, &jobs[i]);
    fflush(stdout);
    mem_free(jobs);
    return s;
}

static int answer(const args *a, output *o, const data_template *t, char **prompts, size_t n)
{
    if (a->n_adapters == 0) return answer_with(a, o, t, NULL, prompts, n);
    int s = CO_OK;
    for (size_t i = 0; i < a->n_adapters && s == CO_OK; i++) {
        if (a->n_adapters > 1) s = generator_use_adapter(o->g, i);
        if (s == CO_OK && a->n_adapters > 1 && !a->json) printf("[%s]\n", a->adapters[i]);
        if (s == CO_OK) s = answer_with(a, o, t, a->adapters[i], prompts, n);
    }
    return s;
}

static int answer_file(const args *a, output *o, const data_template *t)
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
    if (s == CO_OK && n) s = answer(a, o, t, lines, n);
    mem_free(lines);
    mem_free(text);
    return s;
}

static int chat(const args *a, output *o, const data_template *t)
{
    char *line = NULL;
    size_t cap = 0;
    int s = CO_OK;
    while (s == CO_OK) {
        if (isatty(STDIN_FILENO)) fputs("> ", stderr);
        ssize_t n = getline(&line, &cap, stdin);
        if (n < 0) break;
        if (n && line[n - 1] == '\n') line[n - 1] = 0;
        s = answer(a, o, t, &line, 1);
        if (s == CO_E_CONFIG && isatty(STDIN_FILENO)) { /* too long: a person can say it shorter */
            fprintf(stderr, "%s\n", error_message());
            s = CO_OK;
        }
        arena_reset(o->arena);
    }
    free(line);
    return s;
}

static int number(const char *option, const char *text, double lo, double hi, double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end == text || *end || !(*out >= lo && *out <= hi))
        return FAIL(CO_E_CONFIG, "%s %s: expected a number from %g to %g", option, text, lo, hi);
    return CO_OK;
}

static int whole_number(const char *option, const char *text, int64_t lo, int64_t hi, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (end == text || *end || errno || *out < lo || *out > hi)
        return FAIL(CO_E_CONFIG, "%s %s: expected a whole number from %lld to %lld", option, text, (long long)lo, (long long)hi);
    return CO_OK;
}

static int parse(int argc, char **argv, args *a)
{
    enum { MODEL = 256, PROMPT, PROMPTS, CHAT, TEMPLATE, MAX_NEW, TEMP, TOP_K, TOP_P, SEED, BACKEND, DTYPE, CONTEXT, THREADS, BATCH, JSON, ADAPTER, HELP, VERSION };
    static const struct option longs[] = {
        {"model", 1, 0, MODEL}, {"prompt", 1, 0, PROMPT}, {"prompts", 1, 0, PROMPTS}, {"chat", 0, 0, CHAT}, {"template", 1, 0, TEMPLATE},
        {"max-new-tokens", 1, 0, MAX_NEW}, {"temperature", 1, 0, TEMP}, {"top-k", 1, 0, TOP_K}, {"top-p", 1, 0, TOP_P}, {"seed", 1, 0, SEED},
        {"backend", 1, 0, BACKEND}, {"dtype", 1, 0, DTYPE}, {"context", 1, 0, CONTEXT},
        {"threads", 1, 0, THREADS}, {"batch", 1, 0, BATCH}, {"json", 0, 0, JSON}, {"adapter", 1, 0, ADAPTER},
        {"help", 0, 0, HELP}, {"version", 0, 0, VERSION}, {0, 0, 0, 0}};
    int opt, s = CO_OK;
    int64_t seed;
    *a = (args){.backend = "cpu", .max_new = -1, .batch = 8, .sample = {.top_p = 1, .seed = 42}};
    while (s == CO_OK && (opt = getopt_long(argc, argv, "vqh", longs, NULL)) != -1) {
        switch (opt) {
        case MODEL: a->model = optarg; break;
        case PROMPT: a->prompt = optarg; break;
        case PROMPTS: a->prompts = optarg; break;
        case CHAT: a->chat = 1; break;
        case TEMPLATE: a->templ = optarg; break;
        case MAX_NEW: s = whole_number("--max-new-tokens", optarg, 0, 1 << 20, &a->max_new); break;
        case TEMP: s = number("--temperature", optarg, 0, 100, &a->sample.temperature); break;
        case TOP_K: s = whole_number("--top-k", optarg, 0, 1 << 30, &a->sample.top_k); break;
        case TOP_P: s = number("--top-p", optarg, 0, 1, &a->sample.top_p); break;
        case SEED: s = whole_number("--seed", optarg, INT64_MIN, INT64_MAX, &seed), a->sample.seed = (uint64_t)seed; break;
        case BACKEND: a->backend = optarg; break;
        case DTYPE: a->dtype = optarg; break;
        case CONTEXT: s = whole_number("--context", optarg, 0, INT32_MAX, &a->context); break;
        case THREADS: a->threads = optarg; break;
        case BATCH: s = whole_number("--batch", optarg, 1, 4096, &a->batch); break;
        case JSON: a->json = 1; break;
        case ADAPTER:
            if (a->n_adapters == MAX_ADAPTERS) return FAIL(CO_E_CONFIG, "--adapter: at most %d", MAX_ADAPTERS);
            a->adapters[a->n_adapters++] = optarg;
            break;
        case 'v': log_level_set(CO_LOG_DEBUG); break;
        case 'q': log_level_set(CO_LOG_ERROR); break;
        case 'h': case HELP: fputs(help, stdout); exit(0);
        case VERSION: puts("coati-generate " COATI_VERSION); exit(0);
        default: return FAIL(CO_E_CONFIG, "try coati-generate --help");
        }
    }
    if (s) return s;
    if (!a->model) return FAIL(CO_E_CONFIG, "--model DIR is missing; try coati-generate --help");
    if ((a->prompt != NULL) + (a->prompts != NULL) + a->chat != 1) return FAIL(CO_E_CONFIG, "exactly one of --prompt, --prompts and --chat is wanted");
    if (optind < argc) return FAIL(CO_E_CONFIG, "\"%s\": an argument nobody asked for; is a quote missing around the prompt?", argv[optind]);
    return CO_OK;
}

int main(int argc, char **argv)
{
    args a;
    output o = {0};
    data_template *t = NULL;
    int s = parse(argc, argv, &a);
    if (s == CO_OK) s = generator_open(&(generator_args){.model_dir = a.model, .backend = a.backend, .threads = a.threads, .dtype = a.dtype, .max_len = a.context, .slots = a.prompts ? a.batch : 1,
                                                           .adapters = a.adapters, .n_adapters = a.n_adapters}, &o.g);
    if (s == CO_OK) {
        o.t = generator_tokenizer(o.g);
        o.arena = arena_new(1 << 16);
        if (!o.arena) s = CO_E_NOMEM;
    }
    if (s == CO_OK && a.templ && strcmp(a.templ, "none") != 0)
        s = template_open(&(template_args){.name = a.templ, .model_dir = a.model, .tokenizer = o.t->vt, .tokenizer_self = o.t->self, .bos = o.t->bos, .eos = o.t->eos,
                                           .before = o.t->before}, &t);
    if (s == CO_OK && a.prompt) s = answer(&a, &o, t, (char **)(uintptr_t)&a.prompt, 1);
    if (s == CO_OK && a.prompts) s = answer_file(&a, &o, t);
    if (s == CO_OK && a.chat) s = chat(&a, &o, t);
    if (s == CO_OK && (fflush(stdout) != 0 || ferror(stdout)))
        s = FAIL(errno == ENOSPC ? CO_E_NOMEM : CO_E_IO, "writing to stdout failed: %s", strerror(errno));
    if (s) fprintf(stderr, "coati-generate: %s\n", error_message());
    arena_free(o.arena);
    generator_close(o.g);
    template_close(t);
    return error_exit_code(s);
}
