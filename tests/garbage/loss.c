/* loss.c: garbage from each function of a loss. */
#include "garbage.h"
#include GUIDE_BLOCK

static int g_open(const co_host *h, const void *o, void **self)
{
    *self = (void *)16;
    CODE("open");
    return my_open(h, o, self);
}
static co_val g_build(void *self, const co_graph_ops *op, const co_loss_in *in, void *sink, void (*metric)(void *, const char *, co_val))
{
    if (garbage("build:nothing")) return 0;
    if (garbage("build:huge")) return 4000000000u;
    if (garbage("build:hidden")) return in->hidden;
    if (garbage("build:mask")) return in->field(in->g, "mask");
    if (garbage("build:labels")) return in->field(in->g, "labels");
    if (garbage("build:column")) return in->field(in->g, "moon");
    if (garbage("build:null")) return in->field(in->g, NULL);
    if (garbage("metric:null")) metric(sink, NULL, in->hidden);
    if (garbage("metric:huge")) metric(sink, "huge", 4000000000u);
    if (garbage("metric:none")) metric(sink, "none", 0);
    if (garbage("metric:hidden")) metric(sink, "hidden", in->hidden);
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"};
    const co_val one = op->masked_mean(in->g, in->field(in->g, "mask"), in->field(in->g, "mask"));
    for (int i = 0; i < 17 && garbage("metric:many"); i++) metric(sink, names[i], one);
    for (int i = 0; i < 2 && garbage("metric:twice"); i++) metric(sink, "a", one);
    if (garbage("metric:text")) metric(sink, "a\": 1, \"b", one);
    if (garbage("metric:long")) metric(sink, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", one);
    if (garbage("metric:taken")) metric(sink, "grad_norm", one);
    return my_build(self, op, in, sink, metric);
}
static const co_loss_vt vt = {.struct_size = sizeof vt, .wants = CO_LOSS_WANTS_HIDDEN, .fields = fields, .open = g_open, .close = my_close, .build = g_build};
GARBAGE_PLUGIN(CO_KIND_LOSS, "my_loss", opts, my_opts, vt);
