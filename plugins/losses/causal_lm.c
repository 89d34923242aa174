/* causal_lm.c: mean cross-entropy of the next token over the positions that carry a label. */
#include <coati/coati.h>

static int causal_open(const co_host *h, const void *opts, void **self)
{
    (void)h, (void)opts;
    *self = NULL; /* nothing to remember */
    return CO_OK;
}
static void causal_close(void *self) { (void)self; }

static co_val causal_build(void *self, const co_graph_ops *op, const co_loss_in *in, void *sink,
                           void (*metric)(void *sink, const char *name, co_val v))
{
    (void)self, (void)sink, (void)metric;
    co_val logp = op->token_logprob(in->g, in->hidden, in->lm_head, in->field(in->g, "labels"), NULL);
    return op->scale(in->g, op->masked_mean(in->g, logp, in->field(in->g, "mask")), -1.0f);
}

static const char *const fields[] = {"labels", "mask", NULL};
static const co_loss_vt causal_vt = {.struct_size = sizeof causal_vt, .wants = CO_LOSS_WANTS_HIDDEN, .fields = fields,
                                     .open = causal_open, .close = causal_close, .build = causal_build};
static const co_feature feature = {.struct_size = sizeof feature, .kind = CO_KIND_LOSS, .name = "causal_lm",
                                   .summary = "mean cross-entropy of the next token over labelled positions", .vt = &causal_vt};
static const co_feature *const features[] = {&feature, NULL};
static const co_plugin plugin = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plugin, .name = "coati-loss-causal_lm",
                                 .vendor = "coati", .version = "0.1.0", .license = "Apache-2.0", .url = "", .features = features};
CO_PLUGIN(plugin);
