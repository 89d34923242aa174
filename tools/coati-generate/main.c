/* coati-generate: text from a model directory. */
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "tool.h"
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: coati-generate --model DIR [OPTIONS]\n"
    "  --adapter DIR         LoRA in PEFT's layout over the model; given several times, each of them answers in turn\n"
    "  --prompt TEXT         one prompt; \"\" is BOS alone\n"
    "  --prompts FILE        a prompt a line\n"
    "  --chat                prompts from standard input, a line each: with --template a conversation, in which each answer knows\n"
    "                        what was said (/new begins another), without one each alone\n"
    "  --template NAME       what stands around a prompt: alpaca, llama3, …, chat (the model's own), a template file; none (none)\n"
    "  --system TEXT         the system message, where the template has a place for one\n"
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
    "                        (eos, length, or stop: a text at which the template ends); with --adapter also adapter\n"
    "  -v, -q, --help, --version\n";

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
    enum { MODEL = 256, PROMPT, PROMPTS, CHAT, TEMPLATE, MAX_NEW, TEMP, TOP_K, TOP_P, SEED, BACKEND, DTYPE, CONTEXT, THREADS, BATCH, JSON, ADAPTER, SYSTEM, HELP, VERSION };
    static const struct option longs[] = {
        {"model", 1, 0, MODEL}, {"prompt", 1, 0, PROMPT}, {"prompts", 1, 0, PROMPTS}, {"chat", 0, 0, CHAT}, {"template", 1, 0, TEMPLATE},
        {"max-new-tokens", 1, 0, MAX_NEW}, {"temperature", 1, 0, TEMP}, {"top-k", 1, 0, TOP_K}, {"top-p", 1, 0, TOP_P}, {"seed", 1, 0, SEED},
        {"backend", 1, 0, BACKEND}, {"dtype", 1, 0, DTYPE}, {"context", 1, 0, CONTEXT},
        {"threads", 1, 0, THREADS}, {"batch", 1, 0, BATCH}, {"json", 0, 0, JSON}, {"adapter", 1, 0, ADAPTER}, {"system", 1, 0, SYSTEM},
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
        case SYSTEM: a->system = optarg; break;
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
    if (a->system && (!a->templ || strcmp(a->templ, "none") == 0)) return FAIL(CO_E_CONFIG, "--system needs a --template that has a place for it");
    if (optind < argc) return FAIL(CO_E_CONFIG, "\"%s\": an argument nobody asked for; is a quote missing around the prompt?", argv[optind]);
    return CO_OK;
}

int main(int argc, char **argv)
{
    args a;
    output o = {0};
    data_template *t = NULL; /* o.templ */
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
    o.templ = t;
    if (s == CO_OK && a.prompt) s = answer(&a, &o, (char **)(uintptr_t)&a.prompt, 1);
    if (s == CO_OK && a.prompts) s = answer_file(&a, &o);
    if (s == CO_OK && a.chat) s = chat(&a, &o);
    if (s == CO_OK && (fflush(stdout) != 0 || ferror(stdout)))
        s = FAIL(errno == ENOSPC ? CO_E_NOMEM : CO_E_IO, "writing to stdout failed: %s", strerror(errno));
    if (s) fprintf(stderr, "coati-generate: %s\n", error_message());
    arena_free(o.arena);
    generator_close(o.g);
    template_close(t);
    return error_exit_code(s);
}
