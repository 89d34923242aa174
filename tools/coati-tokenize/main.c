/* coati-tokenize: one line of ids for each line of text, or the other way round. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/params/tokenizer.h"

#define FILE_MAX ((size_t)1 << 30) /* bytes */

static const char help[] =
    "usage: coati-tokenize --model DIR [OPTIONS] < text\n"
    "\n"
    "Prints the ids of each line of standard input, separated by spaces.\n"
    "\n"
    "  --model DIR       the model's directory (only the tokenizer's files are read), or a tokenizer file\n"
    "  --tokenizer NAME  tokenizer plugin; default: by the files that are there\n"
    "  --decode          ids in, text out\n"
    "  --no-bos          the text's own ids alone: no BOS or EOS, even where the model's files ask for them\n"
    "  --file FILE       read FILE as one text (with --decode: as one list of ids)\n"
    "  -0, --null        texts end in NUL instead of a new line, so that they may hold new lines\n"
    "  -v, -q            more, or fewer, messages\n"
    "  --help, --version\n";

typedef struct args {
    const char *model, *name, *file;
    int decode, no_bos, null;
} args;

typedef struct tool {
    const args *a;
    tokenizer t;
    co_arena *arena;
    int32_t *ids; /* while decoding */
    size_t cap;
} tool;

static void print_id(const char *separator, int32_t id)
{
    char digits[12], *p = digits + sizeof digits;
    uint32_t v = (uint32_t)id; /* never negative */
    do *--p = (char)('0' + v % 10);
    while (v /= 10);
    fputs(separator, stdout);
    fwrite(p, 1, (size_t)(digits + sizeof digits - p), stdout);
}

static int print_ids(tool *x, const char *text, size_t len)
{
    int32_t *ids;
    size_t n;
    const char *separator = "";
    int rc = x->t.vt->encode(x->t.self, text, len, x->arena, &ids, &n);
    if (rc) return rc;
    if (!x->a->no_bos && x->t.before >= 0) {
        printf("%d", x->t.before);
        separator = " ";
    }
    for (size_t i = 0; i < n; i++, separator = " ") print_id(separator, ids[i]);
    if (!x->a->no_bos && x->t.after >= 0) printf("%s%d", separator, x->t.after);
    putchar('\n');
    return CO_OK;
}

/* Ids between white space; `what` and `line` say where, for messages. */
static int parse_ids(tool *x, const char *text, const char *what, size_t line, size_t *n)
{
    const char *p = text;
    for (*n = 0;;) {
        char *end;
        p += strspn(p, " \t\r\n");
        if (!*p) return CO_OK;
        errno = 0;
        long v = strtol(p, &end, 10);
        if (end == p || errno || v < 0 || v > INT32_MAX || !strchr(" \t\r\n", *end))
            return FAIL(CO_E_FORMAT, "%s:%zu:%zu: \"%.*s\" is not a token id", what, line, (size_t)(p - text) + 1,
                        (int)strcspn(p, " \t\r\n"), p);
        if (v >= x->t.n_vocab)
            return FAIL(CO_E_FORMAT, "%s:%zu:%zu: token id %ld: the tokenizer has %lld", what, line, (size_t)(p - text) + 1, v,
                        (long long)x->t.n_vocab);
        if (*n == x->cap) {
            size_t cap = x->cap ? 2 * x->cap : 256;
            int32_t *grown = mem_grow(x->ids, x->cap, cap, sizeof *grown);
            if (!grown) return CO_E_NOMEM;
            x->ids = grown;
            x->cap = cap;
        }
        x->ids[(*n)++] = (int32_t)v;
        p = end;
    }
}

static int print_text(tool *x, const char *line_text, const char *what, size_t line)
{
    char *text;
    size_t n, len;
    int rc = parse_ids(x, line_text, what, line, &n);
    if (rc == CO_OK) rc = x->t.vt->decode(x->t.self, x->ids, n, 0, x->arena, &text, &len);
    if (rc) return rc;
    fwrite(text, 1, len, stdout);
    putchar(x->a->null ? 0 : '\n');
    return CO_OK;
}

static int run_file(tool *x)
{
    char *text;
    size_t len;
    int rc = fs_read_all(x->a->file, &text, &len, FILE_MAX);
    if (rc) return rc;
    rc = x->a->decode ? print_text(x, text, x->a->file, 1) : print_ids(x, text, len);
    mem_free(text);
    return rc;
}

static int run_lines(tool *x)
{
    char *text = NULL;
    size_t cap = 0, line = 0;
    ssize_t n;
    int rc = CO_OK;
    const int stop = x->a->null && !x->a->decode ? 0 : '\n'; /* ids stand on lines in any case */
    while (rc == CO_OK && (n = getdelim(&text, &cap, stop, stdin)) >= 0) {
        line++;
        if (n && text[n - 1] == stop) text[--n] = 0;
        rc = x->a->decode ? print_text(x, text, "standard input", line) : print_ids(x, text, (size_t)n);
        arena_reset(x->arena);
    }
    if (rc == CO_OK && ferror(stdin)) rc = FAIL(CO_E_IO, "standard input: %s", strerror(errno));
    free(text);
    return rc;
}

static int run(host *h, const args *a)
{
    tool x = {.a = a};
    config *c = config_new();
    x.arena = arena_new(65536);
    int rc = c && x.arena ? tokenizer_open(h, c, a->name, a->model, &x.t) : CO_E_NOMEM;
    if (rc == CO_OK) rc = a->file ? run_file(&x) : run_lines(&x);
    if (fflush(stdout) != 0 && rc == CO_OK) rc = FAIL(CO_E_IO, "standard output: %s", strerror(errno));
    tokenizer_close(&x.t);
    mem_free(x.ids);
    arena_free(x.arena);
    config_free(c);
    return rc;
}

/* CO_OK: go on; CO_END: all is said; else a message is set. */
static int parse_args(int argc, char **argv, args *a, const char *version)
{
    enum { MODEL = 256, NAME, DECODE, NO_BOS, FROM_FILE, HELP, VERSION };
    static const struct option table[] = {
        {"model", required_argument, NULL, MODEL}, {"tokenizer", required_argument, NULL, NAME},
        {"decode", no_argument, NULL, DECODE},     {"no-bos", no_argument, NULL, NO_BOS},
        {"file", required_argument, NULL, FROM_FILE}, {"null", no_argument, NULL, '0'},
        {"help", no_argument, NULL, HELP},         {"version", no_argument, NULL, VERSION}, {0}};
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":vq0", table, NULL)) >= 0) {
        switch (c) {
        case MODEL: a->model = optarg; break;
        case NAME: a->name = optarg; break;
        case DECODE: a->decode = 1; break;
        case NO_BOS: a->no_bos = 1; break;
        case FROM_FILE: a->file = optarg; break;
        case '0': a->null = 1; break;
        case 'v': log_level_set(CO_LOG_DEBUG); break;
        case 'q': log_level_set(CO_LOG_ERROR); break;
        case HELP: fputs(help, stdout); return CO_END;
        case VERSION: printf("coati-tokenize %s\n", version); return CO_END;
        case ':': return FAIL(CO_E_CONFIG, "%s needs a value; try --help", argv[optind - 1]);
        default: return FAIL(CO_E_CONFIG, "%s: unknown option; try --help", argv[optind - 1]);
        }
    }
    if (optind < argc) return FAIL(CO_E_CONFIG, "%s: text is read from standard input or --file; try --help", argv[optind]);
    if (!a->model) return FAIL(CO_E_CONFIG, "--model is missing; try --help");
    return CO_OK;
}

int main(int argc, char **argv)
{
    args a = {.name = "auto"};
    host *h = host_new(NULL);
    int rc = h ? parse_args(argc, argv, &a, host_services(h)->version) : CO_E_NOMEM;
    if (rc == CO_OK) rc = run(h, &a);
    if (rc == CO_END) rc = CO_OK;
    if (rc) fprintf(stderr, "coati-tokenize: %s\n", error_message());
    host_free(h);
    return rc ? error_exit_code(rc) : 0;
}
