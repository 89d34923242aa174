/* extend.c: rows for new tokens in the table of embeddings and the head, and the proof that the old tokens' logits stay. */
#include "convert.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/export_files.h"
#include "core/params/load.h"
#include "core/params/tokenizer.h"
#include "net.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_GROWN = 4, MAX_PIECES = 256 };

typedef struct grown { /* a tensor that gets more rows */
    const st_tensor *t;
    double *mean; /* [width] of the old rows, once it is asked for */
} grown;

typedef struct extending {
    const convert_args *a;
    net *n;
    config *configs[2];
    tokenizer old, new; /* new: with a directory only */
    int64_t rows, first_new, n_new; /* of the model; where new rows begin; the new number */
    grown g[MAX_GROWN];
    int n_grown;
    co_arena *arena;
    float *line;
} extending;

static int64_t width(const st_tensor *t) { return t->ndim > 1 ? t->ne[1] : 1; }

/* Tensors with a row for each token. */
static int find_tensors(extending *e)
{
    const param_table *t = e->n->base;
    for (uint32_t p = 0; p < t->n_params; p++) {
        const co_param_slot *s = &t->slots[p];
        if (s->shape.ne[0] != t->info.n_vocab || param_unit_kind(t, s->unit) == CO_UNIT_BLOCK || s->shape.ndim > 2) continue;
        if (param_unit_kind(t, s->unit) == CO_UNIT_EMBED && s->shape.ndim != 2) continue; /* a norm that happens to be as long */
        const st_tensor *f = params_find_tensor(e->n->weights, s->name);
        int known = f == NULL;
        for (int i = 0; i < e->n_grown; i++) known |= e->g[i].t == f;
        if (known) continue;
        if (e->n_grown == MAX_GROWN || (s->flags & CO_PARAM_FILE_TRANSPOSED) || f->ne[0] != t->info.n_vocab)
            return FAIL(CO_E_UNSUPPORTED, "%s: tensor \"%s\" does not have a row for each token, so none can be added", f->file, f->name);
        e->g[e->n_grown++].t = f;
    }
    int tables = 0;
    for (uint32_t p = t->unit_first[0]; p < t->unit_first[1]; p++) tables += t->slots[p].shape.ndim == 2 && t->slots[p].shape.ne[0] == t->info.n_vocab;
    if (tables == 1) return CO_OK;
    return FAIL(CO_E_UNSUPPORTED, "%s: %d tables have %u rows, as many as there are tokens: which of them is the tokens' cannot be told", e->a->input, tables,
                t->info.n_vocab);
}

/* Ids that both tokenizers have must say the same. */
static int check_same(extending *e, const char *dir)
{
    for (int32_t id = 0; id < e->old.n_vocab; id++) {
        char *x, *y;
        size_t nx, ny;
        arena_reset(e->arena);
        int r = e->old.vt->decode(e->old.self, &id, 1, 1, e->arena, &x, &nx);
        if (r == CO_OK) r = e->new.vt->decode(e->new.self, &id, 1, 1, e->arena, &y, &ny);
        if (r) return r;
        if (nx != ny || memcmp(x, y, nx) != 0)
            return FAIL(CO_E_FORMAT, "%s: not the model's tokenizer with more tokens: id %d is \"%.*s\" there and \"%.*s\" in %s", dir, id, (int)(ny < 40 ? ny : 40), y,
                        (int)(nx < 40 ? nx : 40), x, e->a->input);
    }
    return CO_OK;
}

/* How many tokens there will be, and from which on rows are new. */
static int choose_size(extending *e)
{
    const char *to = e->a->extend;
    int64_t n = 0;
    int r = CO_OK;
    if (fs_is_dir(to)) {
        r = tokenizer_open(e->n->host, e->configs[0], "auto", e->a->input, &e->old);
        if (r == CO_OK) r = tokenizer_open(e->n->host, e->configs[1], "auto", to, &e->new);
        if (r == CO_OK && e->new.n_vocab <= e->old.n_vocab)
            r = FAIL(CO_E_CONFIG, "--extend %s: its tokenizer has %lld tokens, the model's own %lld: nothing is new", to, (long long)e->new.n_vocab, (long long)e->old.n_vocab);
        if (r == CO_OK) r = check_same(e, to);
        if (r) return r;
        n = e->new.n_vocab;
        if (e->old.n_vocab < e->first_new) e->first_new = e->old.n_vocab; /* rows that padded the model are nobody's */
    } else {
        r = parse_count("--extend", to, &n);
        if (r) return error_prefix(r, "neither a tokenizer's directory nor a number");
        if (e->a->pieces) return FAIL(CO_E_CONFIG, "--new-rows pieces needs a tokenizer's directory in --extend: a number says nothing of the tokens' texts");
    }
    if (e->a->pad_to > 1) n = (n + e->a->pad_to - 1) / e->a->pad_to * e->a->pad_to;
    if (n < e->rows) n = e->rows;
    if (n == e->rows && e->first_new == e->rows) return FAIL(CO_E_CONFIG, "--extend %s: the model has %lld tokens already", to, (long long)e->rows);
    if (n > INT32_MAX) return FAIL(CO_E_CONFIG, "--extend %s: more tokens than ids can name", to);
    e->n_new = n;
    return CO_OK;
}

static int find_mean(extending *e, grown *g)
{
    const int64_t w = width(g->t);
    if (g->mean) return CO_OK;
    g->mean = mem_calloc((size_t)w, sizeof *g->mean);
    if (!g->mean) return CO_E_NOMEM;
    for (int64_t row = 0; row < e->first_new; row++) {
        const int r = st_read_f32(g->t, row * w, w, e->line);
        if (r) return r;
        for (int64_t i = 0; i < w; i++) g->mean[i] += e->line[i];
    }
    for (int64_t i = 0; i < w; i++) g->mean[i] /= (double)e->first_new;
    return CO_OK;
}

/* The ids a new token's text had before; 0: it has none, as special tokens have no text. */
static int old_pieces(extending *e, int64_t token, int32_t *out, size_t *n)
{
    const int32_t id = (int32_t)token;
    int32_t *ids;
    char *text, *first;
    size_t len, n_first;
    *n = 0;
    if (!e->a->pieces || token >= e->new.n_vocab) return CO_OK;
    arena_reset(e->arena);
    int r = e->new.vt->decode(e->new.self, &id, 1, 0, e->arena, &text, &len);
    if (r || !len) return r;
    size_t count = 0;
    r = e->old.vt->encode(e->old.self, text, len, e->arena, &ids, &count);
    if (r || !count) return r;
    /* SentencePiece begins a text with a space of its own, which may be a piece: not this token's. */
    r = e->old.vt->decode(e->old.self, ids, 1, 1, e->arena, &first, &n_first);
    if (r) return r;
    const size_t skip = count > 1 && n_first == 1 && *first == ' ' && *text != ' ';
    for (size_t i = skip; i < count && *n < MAX_PIECES; i++)
        if (ids[i] < e->first_new) out[(*n)++] = ids[i];
    return CO_OK;
}

static int new_row(extending *e, grown *g, int64_t token, float *out)
{
    const int64_t w = width(g->t);
    int32_t pieces[MAX_PIECES];
    size_t n;
    int r = old_pieces(e, token, pieces, &n);
    if (r == CO_OK && n == 0) r = find_mean(e, g);
    if (r) return r;
    for (int64_t i = 0; i < w && !n; i++) out[i] = (float)g->mean[i];
    if (n) memset(out, 0, (size_t)w * sizeof *out);
    for (size_t k = 0; k < n && r == CO_OK; k++) {
        r = st_read_f32(g->t, pieces[k] * w, w, e->line);
        for (int64_t i = 0; i < w && r == CO_OK; i++) out[i] += e->line[i] / (float)n;
    }
    return r;
}

static grown *grown_of(extending *e, const st_tensor *t)
{
    for (int i = 0; i < e->n_grown; i++)
        if (e->g[i].t == t) return &e->g[i];
    return NULL;
}

static int wanted(void *ctx, const st_tensor *t) { return grown_of(ctx, t) != NULL; }
static int64_t rows_of(void *ctx, const st_tensor *t) { return (void)t, ((extending *)ctx)->n_new; }

static int read_rows(void *ctx, const st_tensor *t, int64_t first, int64_t n, float *out)
{
    extending *e = ctx;
    grown *g = grown_of(e, t);
    const int64_t w = width(t), old = e->first_new * w;
    float *row = mem_calloc((size_t)w, sizeof *row);
    int r = row ? CO_OK : CO_E_NOMEM;
    int64_t at = first;
    if (r == CO_OK && first < old) {
        const int64_t k = old - first < n ? old - first : n;
        r = st_read_f32(t, first, k, out);
        at += k;
    }
    while (r == CO_OK && at < first + n) { /* a row may go on in the next piece */
        const int64_t inside = at % w, k = w - inside < first + n - at ? w - inside : first + n - at;
        r = new_row(e, g, at / w, row);
        if (r == CO_OK) memcpy(out + (at - first), row + inside, (size_t)k * sizeof *row);
        at += k;
    }
    mem_free(row);
    return r;
}

/* Logits of the old tokens, of texts in them, before and after. */
static int prove(extending *e, const char *tmp)
{
    const convert_args *a = e->a;
    net before = {0}, after = {0};
    float *x = NULL, *y = NULL;
    int32_t *ids = NULL, *same = NULL;
    double most = 0, diff = 0;
    int64_t length = 0;
    const double bound = a->bound >= 0 ? a->bound : default_bound(a, e->n->weights);
    int r = net_open(&before, a, a->input, NULL);
    before.probe_vocab = after.probe_vocab = e->first_new;
    if (r == CO_OK) r = net_logits(&before, &x, &ids);
    length = before.length;
    net_close(&before); /* one model in memory at a time */
    if (r == CO_OK) r = net_open(&after, a, tmp, NULL);
    after.probe_vocab = e->first_new;
    if (r == CO_OK) r = net_logits(&after, &y, &same);
    net_close(&after);
    for (int64_t i = 0; r == CO_OK && i < PROBES * length; i++)
        for (int64_t v = 0; v < e->first_new; v++) {
            const double was = x[i * e->rows + v], d = fabs(was - y[i * e->n_new + v]);
            if (fabs(was) > most) most = fabs(was);
            if (d > diff || d != d) diff = d;
        }
    const double relative = most > 0 ? diff / most : diff;
    if (r == CO_OK)
        printf("logits of the %lld old tokens before and after: %d sequences of %lld tokens, largest logit %.6g, largest difference %.3g (bound %.3g of the largest)\n",
               (long long)e->first_new, PROBES, (long long)length, most, diff, bound);
    if (r == CO_OK && !(relative <= bound)) r = FAIL(CO_E_IO, "the old tokens' logits differ by %.3g of the largest; nothing was written", relative);
    mem_free(same);
    mem_free(ids);
    mem_free(y);
    mem_free(x);
    return r;
}

static int write(extending *e)
{
    const convert_args *a = e->a;
    char *dir = NULL, *tmp = NULL, *text = NULL;
    files_report report = {0};
    int r = export_config_number(hf_config_text(e->n->hf), "vocab_size", e->n_new, &text);
    const replacement with = {.wanted = wanted, .read = read_rows, .rows = rows_of, .config = text, .ctx = e};
    if (r == CO_OK) r = export_begin(a->output, &dir, &tmp);
    if (r == CO_OK) r = files_write(a, tmp, e->n->weights, e->n->hf, e->new.vt ? a->extend : a->input, &with, &report);
    if (r == CO_OK) r = prove(e, tmp);
    if (r == CO_OK) r = export_swap(dir, tmp);
    if (r && tmp) export_discard(tmp);
    if (r == CO_OK)
        printf("%s: %lld tokens, %lld of them new (%s), %d tensor%s longer; %zu tensors, %lld bytes, in %zu file%s\n", dir, (long long)e->n_new,
               (long long)(e->n_new - e->first_new), a->pieces ? "rows of their pieces" : "the mean of the old rows", e->n_grown, e->n_grown == 1 ? "" : "s",
               report.tensors, (long long)report.bytes, report.shards, report.shards == 1 ? "" : "s");
    mem_free(text);
    mem_free(tmp);
    mem_free(dir);
    return r;
}

int convert_extend(const convert_args *a)
{
    net n = {0};
    extending e = {.a = a, .n = &n, .arena = arena_new(1 << 16), .configs = {config_new(), config_new()}};
    int64_t most = 1;
    int r = e.arena && e.configs[0] && e.configs[1] ? net_open_model(&n, a, a->input, NULL) : CO_E_NOMEM;
    if (r == CO_OK) r = weights_open(a->input, &n.weights);
    if (r == CO_OK) {
        e.rows = e.first_new = n.base->info.n_vocab;
        r = find_tensors(&e);
    }
    for (int i = 0; i < e.n_grown; i++)
        if (width(e.g[i].t) > most) most = width(e.g[i].t);
    e.line = mem_calloc((size_t)most, sizeof *e.line);
    if (r == CO_OK && !e.line) r = CO_E_NOMEM;
    if (r == CO_OK) r = choose_size(&e);
    if (r == CO_OK) r = write(&e);
    for (int i = 0; i < e.n_grown; i++) mem_free(e.g[i].mean);
    mem_free(e.line);
    tokenizer_close(&e.new);
    tokenizer_close(&e.old);
    config_free(e.configs[0]);
    config_free(e.configs[1]);
    arena_free(e.arena);
    net_close(&n);
    return r;
}
