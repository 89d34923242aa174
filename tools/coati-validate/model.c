/* model.c: a model's sizes, parameters and units; its derivatives; and a config.json that lies. */
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/rng.h"
#include "gradients.h"
#include <stdio.h>
#include <string.h>

static const char *const unit_label[] = {"embed", "block", "final"};

typedef struct building { const co_model_vt *vt; void *self; co_unit unit; uint32_t kind; } building;
static co_val build(void *ctx, co_graph *g, const co_unit_in *in)
{
    const building *b = ctx;
    return b->vt->build(b->self, b->unit, b->kind, graph_ops(), g, in);
}

static int open_unit(const subject *s, void *self, const param_table *t, co_unit kind, uint32_t block_kind, uint64_t seed, building *b, unit *u)
{
    uint32_t instance = kind == CO_UNIT_EMBED ? 0 : kind == CO_UNIT_FINAL ? t->n_units - 1 : 1;
    const co_model_vt *vt = host_model(s->host, s->f);
    for (uint32_t l = 0; kind == CO_UNIT_BLOCK && vt->block_kind && l < t->n_layers; l++)
        if (vt->block_kind(self, l) == block_kind) instance = l + 1;
    *b = (building){vt, self, kind, block_kind};
    const unit_args a = {.label = unit_label[kind], .decls = t->decls[kind], .slots = t->slots + t->unit_first[instance], .n_params = t->n_decls[kind],
                         .d_model = t->info.d_model, .n_vocab = t->info.n_vocab, .has_x = kind != CO_UNIT_EMBED, .build = build, .ctx = b};
    return unit_open(s->host, &a, seed, u);
}

static void check_units(const subject *s, void *self, const param_table *t)
{
    const uint32_t kinds = t->info.n_block_kinds ? t->info.n_block_kinds : 1;
    uint8_t used[3][UNIT_MAX_PARAMS] = {{0}};
    double worst = 0;
    const char *where = "";
    const int before = report_failures();
    for (uint32_t k = 0; k < kinds + 2 && report_failures() == before; k++) {
        const co_unit kind = k == 0 ? CO_UNIT_EMBED : k <= kinds ? CO_UNIT_BLOCK : CO_UNIT_FINAL;
        unit u;
        building b;
        report_trying("build() of the %s unit, and its derivatives on backend ref", unit_label[kind]);
        int r = open_unit(s, self, t, kind, kind == CO_UNIT_BLOCK ? k - 1 : 0, 11, &b, &u);
        double here = 0;
        const char *at = "";
        if (r == CO_OK) r = gradients_check(&u, &here, &at);
        if (r == CO_OK && !(here <= 1)) { /* a kink of relu may lie between two steps of a difference: once more elsewhere */
            unit_close(&u);
            r = open_unit(s, self, t, kind, kind == CO_UNIT_BLOCK ? k - 1 : 0, 12, &b, &u);
            if (r == CO_OK) r = gradients_check(&u, &here, &at);
        }
        if (r == CO_E_UNSUPPORTED) report_skip("gradients of the %s unit: %s", unit_label[kind], error_message());
        else if (r) report_fail("%s", error_message());
        else if (!(here <= 1)) report_fail("gradients of the %s unit: those of %s are wrong, %.3g times the bound", unit_label[kind], at, here);
        if (here > worst) worst = here, where = at;
        for (uint32_t p = 0; r == CO_OK && p < t->n_decls[kind] && p < UNIT_MAX_PARAMS; p++) used[kind][p] |= u.graph->param_value[p] != 0;
        unit_close(&u);
        if (r) return;
    }
    for (int kind = 0; kind < 3; kind++)
        for (uint32_t p = 0; p < t->n_decls[kind] && p < UNIT_MAX_PARAMS; p++)
            if (!used[kind][p] && strcmp(t->decls[kind][p].local_name, "lm_head") != 0)
                report_fail("parameter \"%s\" of the %s unit is declared and never used", t->decls[kind][p].local_name, unit_label[kind]);
    if (report_failures() == before)
        report_ok("gradients: every parameter and input against differences in double, at most %.2g of the bound (%s)", worst, where);
}

static void check_table(const subject *s, void *self, const param_table *t)
{
    const co_model_vt *vt = host_model(s->host, s->f);
    const int before = report_failures();
    int adjacent = 0;
    report_trying("info() again");
    co_model_info first = {.struct_size = sizeof first}, again = {.struct_size = sizeof again};
    if (vt->info(self, &first) != CO_OK || vt->info(self, &again) != CO_OK || memcmp(&again, &first, sizeof again) != 0)
        report_fail("info() says something else when asked again");
    if (param_find_local(t, CO_UNIT_FINAL, "lm_head") == CO_NONE)
        report_fail("the final unit declares no \"lm_head\": losses and generation ask for the output head by that name");
    for (int kind = 0; kind < 3; kind++)
        for (uint32_t p = 0; p < t->n_decls[kind]; p++) {
            const co_param *d = &t->decls[kind][p];
            if (d->init == CO_INIT_NORMAL && !d->tied_to && !(d->init_std > 0 && d->init_std < 10))
                report_fail("parameter \"%s\" starts from normal numbers of deviation %g", d->local_name, (double)d->init_std);
            if (d->ndim == 1 && !(d->flags & CO_PARAM_NO_DECAY)) adjacent++;
        }
    if (adjacent) report_note("%d vectors (biases, norms) get weight decay: CO_PARAM_NO_DECAY leaves them out", adjacent);
    if (report_failures() == before)
        report_ok("info and parameters: %u layers, width %u, %u ids, %u positions (0: any number); %u tensors, %lld elements", first.n_layers,
                  first.d_model, first.n_vocab, first.max_seq, t->n_params, (long long)t->n_elements);
}

/* ---- hostile config.json -------------------------------------------------------------------------------------------- */
/* As far as a run would go with it: whatever is wrong must end in an error. */
static int as_far_as_possible(const subject *s, const void *opts)
{
    const co_model_vt *vt = host_model(s->host, s->f);
    void *self = NULL;
    param_table *t = NULL;
    int r = subject_open(s, opts, &self);
    if (r) return check_message("open()", r) ? r : CO_OK;
    r = param_table_build(vt, self, CO_F64, &t);
    const int64_t most = 1 << 22; /* elements: larger ones are not tried */
    for (int kind = 0; r == CO_OK && kind < 3; kind++) {
        unit u;
        building b;
        if (t->n_elements > most || t->info.d_model > 4096 || t->info.n_vocab < 1 || t->info.d_model < 1) break;
        r = open_unit(s, self, t, (co_unit)kind, 0, 1, &b, &u);
        unit_close(&u);
    }
    param_table_free(t);
    subject_close(s, self);
    return r;
}

/* The text with the value of top-level key number k replaced; NULL when there is no such key. */
static char *with_value(const char *text, int k, const char *value, char *key, size_t cap)
{
    int depth = 0, n = 0, in_text = 0;
    const char *start = NULL;
    for (const char *p = text; *p; p++) {
        if (in_text) {
            if (*p == '\\' && p[1]) p++;
            else if (*p == '"') in_text = 0;
            continue;
        }
        if (*p == '"') {
            in_text = 1;
            if (depth == 1 && !start) start = p;
        }
        if (*p == '{' || *p == '[') depth++;
        if (*p == ':' && depth == 1 && start && n++ == k) {
            const char *v = p + 1, *end = v;
            int d = 0, q = 0;
            for (; *end; end++) {
                if (q) q = *end == '\\' && end[1] ? (end++, 1) : *end != '"';
                else if (*end == '"') q = 1;
                else if (*end == '{' || *end == '[') d++;
                else if ((*end == '}' || *end == ']') && d-- == 0) break;
                else if (*end == ',' && d == 0) break;
            }
            snprintf(key, cap, "%.*s", (int)(p - start), start);
            return mem_printf("%.*s%s%s", (int)(v - text), text, value, end);
        }
        if (*p == ',' && depth == 1) start = NULL;
        if (*p == '}' || *p == ']') depth--;
    }
    return NULL;
}

static void check_hostile(const subject *s, const void *opts)
{
    static const char *const values[] = {"null", "0", "-1", "1", "3", "1e300", "9223372036854775807", "0.5", "\"x\"", "true", "[1, 2]", "{\"a\": 1}"};
    const char *text = hf_config_text(s->model_config);
    const int before = report_failures();
    int n = 0;
    for (int k = 0; report_failures() == before; k++) {
        char key[100], *changed = NULL;
        for (size_t v = 0; v < sizeof values / sizeof *values && report_failures() == before; v++) {
            subject other = *s;
            changed = with_value(text, k, values[v], key, sizeof key);
            if (!changed) break;
            report_trying("config.json with %s: %s", key, values[v]);
            if (hf_config_parse(changed, strlen(changed), "config.json", &other.model_config) == CO_OK) {
                (void)as_far_as_possible(&other, opts);
                hf_config_close(other.model_config);
                n++;
            }
            mem_free(changed);
        }
        if (!changed) break;
    }
    if (report_failures() == before) report_ok("config.json with each value replaced: %d variants, an answer or an error to each", n);
}

void check_model(const subject *s)
{
    const co_model_vt *vt = host_model(s->host, s->f);
    bound b = {0};
    void *self = NULL;
    param_table *t = NULL;
    if (!vt->model_types || !vt->model_types[0]) report_note("serves no model_type: only [model] arch = %s finds it", s->f->name);
    int r = subject_bind(s, s->f, NULL, &b);
    if (r == CO_OK) r = subject_open(s, b.opts, &self);
    report_trying("info() and params()");
    if (r == CO_OK) r = param_table_build(vt, self, CO_F64, &t);
    if (r) report_fail("%s", error_message()[0] ? error_message() : "info() or params() fails without a message");
    const int before = report_failures();
    if (r == CO_OK) check_table(s, self, t);
    if (r == CO_OK && report_failures() == before) check_units(s, self, t);
    param_table_free(t);
    if (self) subject_close(s, self);
    if (r == CO_OK) check_hostile(s, b.opts);
    bound_free(&b);
}
