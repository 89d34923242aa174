/* adamw.c: AdamW (Loshchilov & Hutter 2019). The arithmetic is the backend's flat_adamw. */
#include <coati/coati.h>
#include <stdlib.h>

typedef struct adamw_opts { const char *betas; double eps, weight_decay; } adamw_opts;
static const co_opt options[] = {
    {"betas", CO_OPT_STR, offsetof(adamw_opts, betas), 0, "0.9,0.999", 0, 0, NULL, "decay of the two moments, as b1,b2"},
    {"eps", CO_OPT_FLOAT, offsetof(adamw_opts, eps), 0, "1e-8", 1e-30, 1, NULL, "added to the root of the second moment"},
    {"weight_decay", CO_OPT_FLOAT, offsetof(adamw_opts, weight_decay), 0, "0", 0, 10, NULL, "decoupled decay per unit of lr; norms and biases are spared"},
    CO_OPT_END};

typedef struct adamw { const co_host *host; float b1, b2, eps, wd; } adamw;

static int adamw_open(const co_host *h, const void *opts, void **self)
{
    const adamw_opts *o = opts;
    char *end;
    const double b1 = strtod(o->betas, &end);
    const double b2 = *end == ',' ? strtod(end + 1, &end) : -1;
    if (*end || !(b1 >= 0 && b1 < 1) || !(b2 >= 0 && b2 < 1))
        return CO_FAIL(h, CO_E_CONFIG, "[optimizer] betas = %s: expected two numbers in [0, 1), as in 0.9,0.999", o->betas);
    adamw *a = h->alloc(h, sizeof *a, _Alignof(adamw));
    if (!a) return CO_FAIL(h, CO_E_NOMEM, "adamw: out of memory");
    *a = (adamw){h, (float)b1, (float)b2, (float)o->eps, (float)o->weight_decay};
    *self = a;
    return CO_OK;
}
static void adamw_close(void *self)
{
    adamw *a = self;
    if (a) a->host->free(a->host, a);
}
static int adamw_update(void *self, const co_backend_vt *be, void *be_self, const co_optim_slice *s, co_stream on)
{
    const adamw *a = self;
    return be->flat_adamw(be_self, s, a->b1, a->b2, a->eps, a->wd, on);
}

static const co_optimizer_vt adamw_vt = {.struct_size = sizeof adamw_vt, .flags = CO_OPTIM_ELEMENTWISE | CO_OPTIM_HALVES, .n_state = 2,
                                         .open = adamw_open, .close = adamw_close, .update = adamw_update};
static const co_feature feature = {.struct_size = sizeof feature, .kind = CO_KIND_OPTIMIZER, .name = "adamw",
                                   .summary = "Adam with decoupled weight decay, fp32 moments", .opts = options,
                                   .opts_size = sizeof(adamw_opts), .vt = &adamw_vt};
static const co_feature *const features[] = {&feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-optimizer-adamw",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
