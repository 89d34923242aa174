/* loss.c: a loss over a batch of seven tokens: a scalar, its metrics, and its derivatives by hidden states and head. */
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/rng.h"
#include "gradients.h"
#include <stdio.h>
#include <string.h>

enum { WIDTH = 6, VOCAB = 11, MAX_NAMED = 16 };

typedef struct building {
    const co_loss_vt *vt;
    void *self;
    int n_metrics, nameless;
} building;

static void on_metric(void *sink, const char *name, co_val v)
{
    building *b = sink;
    b->n_metrics++;
    b->nameless += !name || !name[0] || !v;
}

static co_val build(void *ctx, co_graph *g, const co_unit_in *in)
{
    building *b = ctx;
    const co_loss_in loss = {.struct_size = sizeof loss, .hidden = in->x, .lm_head = graph_ops()->param(g, "lm_head"), .field = graph_batch, .g = g};
    return b->vt->build(b->self, graph_ops(), &loss, b, on_metric);
}

static int is_ids(const char *name) { return strcmp(name, "labels") == 0 || strcmp(name, "actions") == 0; }

static void fill(unit *u, const gcolumn *columns, uint32_t n)
{
    for (uint32_t c = 0; c < n; c++) {
        void *p = unit_column(u, columns[c].name);
        for (int i = 0; i < UNIT_TOKENS; i++) {
            if (is_ids(columns[c].name)) ((int32_t *)p)[i] = i % 4 == 3 ? -100 : (int32_t)rng_below(4, 60 + c, (uint64_t)i, VOCAB);
            else if (strstr(columns[c].name, "mask")) ((double *)p)[i] = i % 4 == 3 ? 0 : 1;
            else ((double *)p)[i] = rng_normal(4, 60 + c, (uint64_t)i);
        }
    }
}

/* What the mask leaves out must not count. */
static void check_mask(unit *u)
{
    int32_t *labels = unit_column(u, "labels");
    double *mask = unit_column(u, "mask");
    if (!labels || !mask || unit_forward(u) != CO_OK) return;
    mask[1] = 0;
    (void)unit_forward(u);
    const double a = unit_objective(u);
    labels[1] = (labels[1] + 1) % VOCAB;
    (void)unit_forward(u);
    if (unit_objective(u) != a) report_fail("a label whose mask is 0 changes the loss: multiply by the mask (masked_mean)");
    else report_ok("what the mask leaves out does not count");
}

static void check_graph(const subject *s, void *self)
{
    const co_loss_vt *vt = host_loss(s->host, s->f);
    static const co_param head = {.struct_size = sizeof head, .unit = CO_UNIT_FINAL, .local_name = "lm_head", .file_name = "lm_head.weight",
                                  .ne = {VOCAB, WIDTH}, .ndim = 2, .init_std = 0.02f};
    static const co_param_slot slot = {.unit = 2, .trainable = 1, .name = "lm_head.weight", .grad_dtype = CO_F64,
                                       .shape = {.ne = {VOCAB, WIDTH, 0, 0}, .row_stride = WIDTH, .ndim = 2, .dtype = CO_F64}};
    gcolumn columns[MAX_NAMED];
    uint32_t n = 0;
    int known = 1;
    for (const char *const *f = vt->fields; f && *f && n < UNIT_MAX_COLUMNS - 2; f++) {
        columns[n++] = (gcolumn){*f, is_ids(*f) ? CO_I32 : CO_F64, CO_ROWS_TOKENS, 0};
        known &= strcmp(*f, "labels") == 0 || strcmp(*f, "mask") == 0;
    }
    building b = {vt, self, 0, 0};
    unit u;
    double worst = 0;
    const char *where = "";
    const unit_args a = {.label = s->f->name, .decls = &head, .slots = &slot, .n_params = 1, .d_model = WIDTH, .n_vocab = VOCAB, .has_x = 1,
                         .columns = columns, .n_columns = n, .build = build, .ctx = &b, .is_loss = 1};
    report_trying("build(), and its derivatives on backend ref");
    int r = unit_open(s->host, &a, 21, &u);
    if (r == CO_OK) {
        fill(&u, columns, n);
        r = gradients_check(&u, &worst, &where);
    }
    if (r && !known) report_skip("gradients: it reads columns whose shapes only its stage knows (%s)", error_message());
    else if (r) report_fail("%s", error_message());
    else if (b.nameless) report_fail("it reports a metric without a name or value");
    else if (!(worst <= 1)) report_fail("gradients: those of %s are wrong, %.3g times the bound", where, worst);
    else {
        report_ok("gradients: by hidden states and head against differences in double, at most %.2g of the bound; %d metrics", worst, b.n_metrics);
        check_mask(&u);
    }
    unit_close(&u);
}

void check_loss(const subject *s)
{
    const co_loss_vt *vt = host_loss(s->host, s->f);
    bound b = {0};
    void *self = NULL;
    if (vt->wants & (CO_LOSS_WANTS_VALUE | CO_LOSS_WANTS_REWARD)) {
        report_skip("gradients: it wants a value or reward head");
        return;
    }
    if (!(vt->wants & CO_LOSS_WANTS_HIDDEN)) report_fail("it wants nothing: CO_LOSS_WANTS_HIDDEN is missing in wants");
    int r = subject_bind(s, s->f, NULL, &b);
    if (r == CO_OK) r = subject_open(s, b.opts, &self);
    if (r) report_fail("%s", error_message());
    else check_graph(s, self);
    if (r == CO_OK) subject_close(s, self);
    bound_free(&b);
}
