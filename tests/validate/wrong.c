/* wrong.c: small plugins, WRONG_KIND says of which kind; each does one thing wrong, if $COATI_WRONG names it. */
#include <coati/coati.h>
#include <stdlib.h>
#include <string.h>

static int wrong(const char *what)
{
    const char *w = getenv("COATI_WRONG");
    return w && strcmp(w, what) == 0;
}

static int calls; /* what no plugin may have */
typedef struct thing { const co_host *host; int64_t d, layers, vocab, heads; int32_t infos, opens; } thing;
static thing shared;

static int thing_open(const co_host *h, void **self)
{
    if (wrong("silent")) return CO_E_FORMAT;
    if (wrong("code")) return 42;
    if (wrong("exit")) exit(7);
    if (wrong("hang")) for (volatile unsigned i = 0;; i = i + 1) continue; /* an int would overflow within a second */
    if (wrong("shared")) return *self = &shared, shared.host = h, CO_OK;
    if (wrong("once") && calls++) return CO_FAIL(h, CO_E_STATE, "only one at a time");
    if (wrong("leak") && !h->alloc(h, 100, 16)) return CO_E_NOMEM;
    thing *t = h->alloc(h, sizeof *t, 16);
    if (!t && !wrong("nomem")) return CO_FAIL(h, CO_E_NOMEM, "out of memory");
    t->host = h;
    *self = t;
    return CO_OK;
}
static void thing_close(void *self)
{
    thing *t = self;
    if (t && t != &shared) t->host->free(t->host, t);
}

/* ---- a model ----------------------------------------------------------------------------------------------------- */
#ifdef WRONG_MODEL
typedef struct options { int64_t size; int32_t mode, pad; } options;
static const char *const modes[] = {"a", "b", NULL};
static const co_opt opts[] = {{"size", CO_OPT_INT, offsetof(options, size), 0, "1", 0, 7, NULL, "of nothing"},
                              {"mode", CO_OPT_ENUM, offsetof(options, mode), 0, "a", 0, 0, modes, "of nothing"}, CO_OPT_END};

static int model_open(const co_host *h, const void *o, const co_meta *c, void **self)
{
    const options *given = o;
    if (wrong("option") && given->size == 0) return CO_FAIL(h, CO_E_INVALID, "%s", (const char *)memset(h->alloc(h, 4, 4), 0, 4)), -1000;
    const int r = thing_open(h, self);
    if (r) return r;
    thing *t = *self;
    t->d = t->layers = t->vocab = t->heads = 0;
    const int bad = c->i64(c, "hidden_size", &t->d) | c->i64(c, "num_hidden_layers", &t->layers) | c->i64(c, "vocab_size", &t->vocab);
    if (c->i64(c, "num_attention_heads", &t->heads) != CO_OK) t->heads = 1;
    if (wrong("config") && t->d % t->heads) abort(); /* a division by what a file says would do as well */
    if (bad || t->d < 1 || t->d > 4096 || t->layers < 1 || t->layers > 100 || t->vocab < 1 || t->vocab > 100000 || t->heads < 1) {
        thing_close(t);
        return CO_FAIL(h, CO_E_FORMAT, "config.json: sizes are missing or out of range");
    }
    return CO_OK;
}
static int model_info(void *self, co_model_info *out)
{
    thing *t = self;
    out->n_layers = (uint32_t)t->layers;
    out->d_model = (uint32_t)(t->d + (wrong("info") ? t->infos++ : 0));
    out->n_vocab = (uint32_t)t->vocab;
    out->max_seq = 64;
    out->n_block_kinds = out->n_kv_heads = 1;
    out->head_dim = (uint32_t)t->d;
    return CO_OK;
}
static int model_params(void *self, void *sink, int (*add)(void *sink, const co_param *p))
{
    const thing *t = self;
    const co_param list[] = {
        {.unit = CO_UNIT_EMBED, .local_name = "e", .file_name = "e", .ne = {t->vocab, t->d}, .ndim = 2, .init_std = 0.1f},
        {.unit = CO_UNIT_BLOCK, .local_name = "w", .file_name = "w.{}", .ne = {t->d, t->d}, .ndim = 2, .init_std = wrong("std") ? 0 : 0.1f},
        {.unit = CO_UNIT_FINAL, .local_name = wrong("head") ? "top" : "lm_head", .file_name = "head", .ne = {t->vocab, t->d}, .ndim = 2, .init_std = 0.1f},
        {.unit = CO_UNIT_BLOCK, .local_name = "unused", .file_name = "u.{}", .ne = {t->d}, .ndim = 1, .flags = CO_PARAM_NO_DECAY, .init_std = 0.1f}};
    int r = CO_OK;
    for (size_t i = 0; i < (wrong("unused") ? 4u : 3u) && r == CO_OK; i++) {
        co_param p = list[i];
        p.struct_size = sizeof p;
        r = add(sink, &p);
    }
    return r;
}
static co_val model_build(void *self, co_unit unit, uint32_t kind, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    (void)self, (void)kind;
    if (unit == CO_UNIT_EMBED) return op->embedding(g, in->token_ids, op->param(g, wrong("name") ? "no such thing" : "e"));
    if (unit == CO_UNIT_FINAL) return op->scale(g, in->x, 2);
    const co_val w = op->param(g, "w"), y = op->linear(g, in->x, w, 0);
    if (wrong("value")) return 77777;
    if (wrong("nothing")) return 0;
    if (wrong("shape")) return w;
    if (wrong("crash")) return op->name(g, *(volatile int *)0 ? y : 0, "x"), y;
    if (wrong("gradient")) return op->add(g, in->x, op->mul(g, y, op->stop_gradient(g, y)));
    if (wrong("exp")) return op->exp(g, op->scale(g, y, 0.3f)); /* nothing wrong: its backward reads what the block gave */
    return op->add(g, in->x, op->silu(g, wrong("state") ? op->scale(g, y, 1 + 0.1f * (float)(calls++)) : y));
}
static const char *const types[] = {"wrong", NULL};
static const co_model_vt vt = {.struct_size = sizeof vt, .model_types = types, .open = model_open, .close = thing_close, .info = model_info,
                               .params = model_params, .build = model_build};
#define KIND CO_KIND_MODEL
#endif

/* ---- a loss -------------------------------------------------------------------------------------------------------- */
#ifdef WRONG_LOSS
static int loss_open(const co_host *h, const void *o, void **self) { return (void)o, thing_open(h, self); }
static co_val loss_build(void *self, const co_graph_ops *op, const co_loss_in *in, void *sink, void (*metric)(void *, const char *, co_val))
{
    (void)self;
    const co_val mask = in->field(in->g, wrong("field") ? "moon" : "mask");
    const co_val logp = op->token_logprob(in->g, in->hidden, in->lm_head, in->field(in->g, "labels"), NULL);
    if (wrong("scalar")) return logp;
    if (wrong("metric")) metric(sink, NULL, op->masked_mean(in->g, logp, mask));
    if (wrong("mask")) return op->scale(in->g, op->masked_mean(in->g, op->add(in->g, logp, op->scale(in->g, mask, 0)), op->exp(in->g, op->scale(in->g, mask, 0))), -1);
    return op->scale(in->g, op->masked_mean(in->g, logp, mask), -1);
}
static const char *const fields[] = {"labels", "mask", NULL};
static const co_loss_vt vt = {.struct_size = sizeof vt, .wants = CO_LOSS_WANTS_HIDDEN, .fields = fields, .open = loss_open, .close = thing_close, .build = loss_build};
#define KIND CO_KIND_LOSS
#endif

/* ---- an optimizer --------------------------------------------------------------------------------------------------- */
#ifdef WRONG_OPTIMIZER
static int optim_open(const co_host *h, const void *o, void **self) { return (void)o, thing_open(h, self); }
static int optim_update(void *self, const co_backend_vt *be, void *be_self, const co_optim_slice *s, co_stream on)
{
    thing *t = self;
    if (wrong("refuses")) return CO_FAIL(t->host, CO_E_DEVICE, "no update tonight");
    co_optim_slice up = *s;
    if (wrong("uphill")) up.lr = -s->lr;
    if (wrong("random")) up.lr = s->lr * (float)(1 + calls++ % 3);
    return be->flat_adamw(be_self, &up, 0.9f, 0.999f, 1e-8f, 0, on);
}
static const co_optimizer_vt vt = {.struct_size = sizeof vt, .flags = CO_OPTIM_ELEMENTWISE, .n_state = 2, .open = optim_open, .close = thing_close, .update = optim_update};
#define KIND CO_KIND_OPTIMIZER
#endif

/* ---- a dataset ------------------------------------------------------------------------------------------------------- */
#ifdef WRONG_DATASET
typedef struct options { co_dataset_common common; } options;
static const co_opt opts[] = {{"path", CO_OPT_PATH, 0, 0, "", 0, 0, NULL, "a file"}, CO_OPT_END};
static int data_open(const co_host *h, const void *o, void **self) { return (void)o, thing_open(h, self); }
static int data_count(void *self, int64_t *n) { return (void)self, *n = wrong("count") ? -3 : 4, CO_OK; }
static int data_read(void *self, int64_t i, co_arena *a, co_field **f, uint32_t *n)
{
    static char text[] = "abcdef", broken[] = "a\xff";
    thing *t = self;
    if (i >= (wrong("early") ? 2 : 4)) return wrong("late") ? (int)CO_E_FORMAT : CO_END;
    co_field *x = t->host->arena_push(a, sizeof *x, 16);
    if (!x) return CO_E_NOMEM;
    memset(x, 0, sizeof *x);
    *f = wrong("null") ? NULL : x;
    *n = 1;
    x->name = "text";
    x->data = wrong("no data") ? NULL : wrong("utf8") ? broken : text;
    x->len = wrong("nul") ? 3 : wrong("utf8") ? 2 : wrong("order") ? (t->opens++ % 2 ? 6 : 6) : 6;
    if (wrong("order")) text[0] = (char)('a' + t->opens % 5);
    if (wrong("type")) x->type = 9;
    return CO_OK;
}
static const char *const suffixes[] = {".wrong", NULL};
static const co_dataset_vt vt = {.struct_size = sizeof vt, .suffixes = suffixes, .open = data_open, .close = thing_close, .count = data_count, .read = data_read};
#define KIND CO_KIND_DATASET
#endif

/* ---- a tokenizer ------------------------------------------------------------------------------------------------------ */
#ifdef WRONG_TOKENIZER
typedef struct options { co_tokenizer_common common; } options;
static const co_opt opts[] = {{"path", CO_OPT_PATH, 0, 0, "", 0, 0, NULL, "a folder"}, CO_OPT_END};
static int tok_open(const co_host *h, const void *o, void **self) { return (void)o, thing_open(h, self); }
static int tok_vocab(void *self, int64_t *n) { return (void)self, *n = wrong("vocab") ? 0 : 256, CO_OK; }
static int tok_encode(void *self, const char *s, size_t len, co_arena *a, int32_t **ids, size_t *n)
{
    thing *t = self;
    *ids = t->host->arena_push(a, (len + 1) * sizeof **ids, 4);
    if (!*ids) return CO_E_NOMEM;
    for (size_t i = 0; i < len; i++) (*ids)[i] = (unsigned char)s[i] + (wrong("id") && i == 2 ? 1000 : 0);
    if (wrong("thread") && len) (*ids)[0] = (calls++ * 7) % 256;
    *n = len;
    return CO_OK;
}
static int tok_decode(void *self, const int32_t *ids, size_t n, int continuation, co_arena *a, char **s, size_t *len)
{
    thing *t = self;
    (void)continuation;
    *s = t->host->arena_push(a, n + 1, 1);
    if (!*s) return CO_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        if ((ids[i] < 0 || ids[i] > 255) && !wrong("wild")) return wrong("mute") ? (int)CO_E_INVALID : CO_FAIL(t->host, CO_E_INVALID, "id %d does not exist", ids[i]);
        if (wrong("wild") && (ids[i] < 0 || ids[i] > 255)) abort();
        (*s)[i] = (char)ids[i];
    }
    *len = n;
    if (wrong("back")) *s = NULL;
    return CO_OK;
}
static int32_t tok_special(void *self, const char *role) { return (void)self, wrong("special") && strcmp(role, "eos") == 0 ? 999 : -1; }
static const char *const files[] = {"wrong.model", NULL};
/* One mark after another; "marks": all at the front. */
static int tok_marked(void *self, const char *s, size_t len, const co_text_mark *m, size_t n_marks, co_arena *a, int32_t **ids, size_t *n)
{
    int32_t *all;
    size_t n_all, at = 0;
    int r = tok_encode(self, s, len, a, &all, &n_all);
    if (r) return r;
    *ids = ((thing *)self)->host->arena_push(a, (n_all + n_marks + 1) * sizeof **ids, 4);
    if (!*ids) return CO_E_NOMEM;
    for (size_t i = 0, k = 0; i <= n_all; i++) {
        for (; k < n_marks && (wrong("marks") || m[k].at == i); k++) (*ids)[at++] = m[k].id;
        if (i < n_all) (*ids)[at++] = all[i];
    }
    *n = at;
    return CO_OK;
}
static const co_tokenizer_vt vt = {.struct_size = sizeof vt, .encode_marked = tok_marked, .files = files, .open = tok_open, .close = thing_close, .n_vocab = tok_vocab, .encode = tok_encode,
                                   .decode = tok_decode, .special = tok_special};
#define KIND CO_KIND_TOKENIZER
#endif

#if defined WRONG_MODEL || defined WRONG_DATASET || defined WRONG_TOKENIZER
#define OPTS .opts = opts, .opts_size = sizeof(options),
#else
#define OPTS
#endif
#ifdef WRONG_EXPORT
CO_EXPORT int also_visible(void);
int also_visible(void) { return 0; }
#endif
static const co_feature feature = {.struct_size = sizeof feature, .kind = KIND, .name = "wrong", .summary = "does what $COATI_WRONG says", OPTS .vt = &vt};
static const co_feature *const features[] = {&feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "wrong", .vendor = "tests", .version = "1", .license = "Apache-2.0",
                                 .url = "", .features = features};
CO_PLUGIN(plugin);
