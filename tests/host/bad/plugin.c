/* plugin.c: one small plugin, a loss, and with -DBAD_… each of the ways it can be wrong. BAD_NAME: what it is called. */
#include <coati/coati.h>
#include <stddef.h>

#ifndef BAD_NAME
#define BAD_NAME "good"
#endif

static int loss_open(const co_host *h, const void *opts, void **self)
{
    (void)h, (void)opts;
    *self = NULL;
    return CO_OK;
}
static void loss_close(void *self) { (void)self; }
static co_val loss_build(void *self, const co_graph_ops *op, const co_loss_in *in, void *sink,
                         void (*metric)(void *sink, const char *name, co_val v))
{
    (void)self, (void)sink, (void)metric;
    const co_val logp = op->token_logprob(in->g, in->hidden, in->lm_head, in->field(in->g, "labels"), NULL);
    return op->scale(in->g, op->masked_mean(in->g, logp, in->field(in->g, "mask")), -1.0f);
}
static const char *const fields[] = {"labels", "mask", NULL};

/* ---- the table of functions: as the host knows it, longer, shorter */
typedef struct longer { co_loss_vt now; int (*later)(void *self); } longer;
static const longer vt = {
#if defined BAD_LONG_TABLE
    .now.struct_size = sizeof(longer),
#elif defined BAD_SHORT_TABLE
    .now.struct_size = offsetof(co_loss_vt, build),
#else
    .now.struct_size = sizeof(co_loss_vt),
#endif
    .now.wants = CO_LOSS_WANTS_HIDDEN, .now.fields = fields, .now.open = loss_open,
#ifndef BAD_MEMBER
    .now.close = loss_close,
#endif
    .now.build = loss_build};

/* An older and shorter table of a kind whose last member is optional. */
static int data_open(const co_host *h, const void *opts, void **self) { return loss_open(h, opts, self); }
static int data_count(void *self, int64_t *n) { return (void)self, *n = 0, CO_OK; }
static int data_read(void *self, int64_t i, co_arena *a, co_field **f, uint32_t *n) { return (void)self, (void)i, (void)a, (void)f, (void)n, CO_END; }
static const co_dataset_vt data_vt = {.struct_size = offsetof(co_dataset_vt, clone), .open = data_open, .close = loss_close,
                                      .count = data_count, .read = data_read, .clone = (int (*)(void *, void **))1 /* beyond its end */};

/* ---- options */
typedef struct options { double weight; int32_t mode, pad; } options;
static const char *const modes[] = {"slow", "fast", NULL};
static const co_opt opts[] = {
    {"weight", CO_OPT_FLOAT, offsetof(options, weight), 0, "1.5", 0, 10, NULL, "factor of the loss"},
    {"mode", CO_OPT_ENUM, offsetof(options, mode), 0, "slow", 0, 0, modes, "how to go about it"},
#if defined BAD_OPT_TYPE
    {"wrong", 77, 0, 0, "", 0, 0, NULL, ""},
#elif defined BAD_OPT_OFFSET
    {"wrong", CO_OPT_INT, sizeof(options), 0, "1", 0, 0, NULL, ""},
#elif defined BAD_OPT_ALIGN
    {"wrong", CO_OPT_INT, 4, 0, "1", 0, 0, NULL, ""},
#elif defined BAD_OPT_NAMES
    {"wrong", CO_OPT_ENUM, 0, 0, "a", 0, 0, NULL, ""},
#elif defined BAD_OPT_DEFAULT
    {"wrong", CO_OPT_INT, 0, 0, "many", 0, 0, NULL, ""},
#elif defined BAD_OPT_DEFAULT_RANGE
    {"wrong", CO_OPT_INT, 0, 0, "11", 1, 10, NULL, ""},
#elif defined BAD_OPT_RANGE
    {"wrong", CO_OPT_INT, 0, 0, "1", 10, 1, NULL, ""},
#elif defined BAD_OPT_TWICE
    {"weight", CO_OPT_INT, 0, 0, "1", 0, 0, NULL, ""},
#elif defined BAD_OPT_KEY
    {"a key", CO_OPT_INT, 0, 0, "1", 0, 0, NULL, ""},
#endif
    CO_OPT_END};

#if defined BAD_NEEDS_OP
static const char *const needs[] = {"op:attention", "op:teleport", NULL};
#elif defined BAD_NEEDS_TAG
static const char *const needs[] = {"mem:device", "moon:full", NULL};
#elif defined BAD_NEEDS_DEVICE
static const char *const needs[] = {"op:token_logprob", "mem:device", NULL};
#elif defined BAD_NEEDS_END
#define X8(x) x, x, x, x, x, x, x, x
static const char *const needs[] = {X8(X8("op:add")), "op:add", NULL};
#else
static const char *const needs[] = {"op:token_logprob", "op:masked_mean", NULL};
#endif

static const co_feature feature = {
#ifdef BAD_FEATURE_SIZE
    .struct_size = 16,
#else
    .struct_size = sizeof feature,
#endif
#ifdef BAD_KIND
    .kind = 99,
#else
    .kind = CO_KIND_LOSS,
#endif
#ifndef BAD_NAMELESS
    .name = BAD_NAME,
#endif
    .summary = "a loss of the tests", .opts = opts, .opts_size = sizeof(options), .needs = needs,
#ifndef BAD_NO_TABLE
    .vt = &vt,
#endif
};
static const co_feature dataset = {.struct_size = sizeof dataset, .kind = CO_KIND_DATASET, .name = BAD_NAME,
                                   .summary = "a dataset with an older table", .vt = &data_vt};
static const co_feature *const features[] = {
#ifndef BAD_FEATURELESS
    &feature, &dataset,
#endif
#ifdef BAD_TWICE
    &feature,
#endif
    NULL};

static int init(const co_host *h)
{
#if defined BAD_INIT
    return CO_FAIL(h, CO_E_DEVICE, "no moon tonight");
#elif defined BAD_INIT_SILENT
    return (void)h, CO_E_DEVICE;
#else
    return (void)h, CO_OK;
#endif
}

#ifdef BAD_SYMBOL
extern int coati_nobody_has_this(void);
#endif

static const co_plugin plugin = {
    .magic = {
#ifdef BAD_MAGIC
        .magic = 0x0BADF00D,
#else
        .magic = CO_MAGIC,
#endif
#ifdef BAD_MAJOR
        .abi_major = CO_ABI_MAJOR + 1,
#else
        .abi_major = CO_ABI_MAJOR,
#endif
        .abi_minor = CO_ABI_MINOR,
#ifdef BAD_MINOR
        .abi_minor_required = CO_ABI_MINOR + 7,
#endif
#ifdef BAD_POINTER
        .pointer_size = 4,
#else
        .pointer_size = sizeof(void *),
#endif
#ifdef BAD_DIMS
        .max_dims = CO_MAX_DIMS + 4,
#else
        .max_dims = CO_MAX_DIMS,
#endif
#ifdef BAD_STRIDE
        .opt_stride = 8,
#else
        .opt_stride = sizeof(co_opt),
#endif
        .built_with = "the tests"},
#ifdef BAD_PLUGIN_SIZE
    .struct_size = 16,
#else
    .struct_size = sizeof plugin,
#endif
    .name = "coati-test-" BAD_NAME, .vendor = "tests", .version = "1.2.3", .license = "Apache-2.0", .url = "", .features = features, .init = init};

#if !defined BAD_ENTRY
CO_EXPORT const co_plugin *coati_plugin_v1(void);
const co_plugin *coati_plugin_v1(void)
{
#if defined BAD_NULL
    return (void)plugin, NULL;
#elif defined BAD_SYMBOL
    return coati_nobody_has_this() ? &plugin : NULL;
#else
    return &plugin;
#endif
}
#else
CO_EXPORT const co_plugin *coati_plugin_v0(void);
const co_plugin *coati_plugin_v0(void) { return &plugin; }
#endif
