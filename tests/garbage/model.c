/* model.c: garbage from each function of a model. */
#include "garbage.h"
#include GUIDE_BLOCK

static int g_open(const co_host *h, const void *o, const co_meta *c, void **self)
{
    *self = (void *)16; /* an address nobody may follow after an error */
    CODE("open");
    return my_open(h, o, c, self);
}
static int g_info(void *self, co_model_info *out)
{
    CODE("info");
    if (garbage("info:nothing")) return CO_OK;
    const int r = my_info(self, out);
    if (garbage("info:layers")) out->n_layers = 4000000000u;
    if (garbage("info:width")) out->d_model = 0;
    if (garbage("info:wide")) out->d_model *= 3;
    if (garbage("info:vocab")) out->n_vocab = 0;
    if (garbage("info:many")) out->n_vocab *= 1000;
    if (garbage("info:kinds")) out->n_block_kinds = 4294967295u;
    return r;
}
static int g_params(void *self, void *sink, int (*add)(void *sink, const co_param *p))
{
    const my_model *m = self;
    co_param p = {.struct_size = sizeof p, .unit = CO_UNIT_BLOCK, .local_name = "x", .file_name = "x.{}", .ne = {4, 4}, .ndim = 2};
    CODE("params");
    if (garbage("params:nothing")) return CO_OK;
    if (garbage("params:null")) return add(sink, NULL);
    if (garbage("params:small")) p.struct_size = 3;
    if (garbage("params:unit")) p.unit = 7;
    if (garbage("params:nameless")) p.local_name = NULL;
    if (garbage("params:huge")) p.ne[0] = p.ne[1] = INT64_MAX;
    if (garbage("params:negative")) p.ne[0] = -4;
    if (garbage("params:dims")) p.ndim = 200;
    if (garbage("params:init")) p.init = 99;
    if (garbage("params:tied")) p.tied_to = "x.{}";
    if (garbage("params:braces")) p.file_name = "{}{}{}%s%n";
    if (garbage("params:group")) p.file_group[0] = -1;
    if (garbage("params:table")) { /* an embedding with fewer rows than there are ids */
        p = (co_param){.struct_size = sizeof p, .unit = CO_UNIT_EMBED, .local_name = "short", .file_name = "short", .ne = {3, m->d}, .ndim = 2, .init_std = 1};
        const int r = add(sink, &p);
        return r ? r : my_params(self, sink, add);
    }
    const int r = getenv("COATI_GARBAGE") && strncmp(getenv("COATI_GARBAGE"), "params:", 7) == 0 ? add(sink, &p) : CO_OK;
    return r ? r : my_params(self, sink, add);
}
static co_val g_build(void *self, co_unit unit, uint32_t kind, const co_graph_ops *op, co_graph *g, const co_unit_in *in)
{
    const int64_t widths[3] = {-5, 1, 36}, *none = NULL;
    co_val parts[3];
    if (unit == CO_UNIT_EMBED && garbage("params:table")) return op->embedding(g, in->token_ids, op->param(g, "short"));
    if (unit == CO_UNIT_BLOCK) {
        if (garbage("build:nothing")) return 0;
        if (garbage("build:huge")) return 4000000000u;
        if (garbage("build:ids")) return in->token_ids;
        if (garbage("build:param")) return op->param(g, "qkv");
        if (garbage("build:norm")) return op->param(g, "norm");
        if (garbage("build:values")) return op->linear(g, 77777, 88888, 99999);
        if (garbage("build:bias")) return op->linear(g, in->x, op->param(g, "qkv"), 99999);
        if (garbage("build:name")) return op->param(g, NULL);
        if (garbage("build:unknown")) return op->param(g, "no such thing");
        if (garbage("build:rope")) return op->rope(g, in->x, in->positions, NULL);
        if (garbage("build:attention")) return op->attention(g, in->x, in->x, in->x, NULL);
        if (garbage("build:split")) return op->split(g, in->x, 3, widths, parts), parts[2];
        if (garbage("build:parts")) return op->split(g, in->x, 4000000000u, widths, parts), in->x;
        if (garbage("build:widths")) return op->split(g, in->x, 3, none, parts), in->x;
        if (garbage("build:custom")) return op->custom(g, NULL, 3, NULL, NULL, 100);
        if (garbage("build:gather")) return op->row_gather(g, in->x, in->x);
        if (garbage("build:table")) return op->embedding(g, in->positions, op->param(g, "norm"));
        if (garbage("build:label")) op->name(g, 4000000000u, NULL), op->name(g, in->x, NULL);
        if (garbage("build:label")) return 0;
    }
    if (unit == CO_UNIT_FINAL && garbage("final:ids")) return in->token_ids;
    if (unit == CO_UNIT_FINAL && garbage("final:head")) return op->param(g, "lm_head");
    return my_build(self, unit, kind, op, g, in);
}
static uint32_t g_kind(void *self, uint32_t layer) { return (void)self, garbage("block_kind:huge") ? 4000000000u + layer : 0; }
static const co_model_vt vt = {.struct_size = sizeof vt, .model_types = model_types, .open = g_open, .close = my_close, .info = g_info, .params = g_params,
                               .build = g_build, .block_kind = g_kind};
GARBAGE_PLUGIN(CO_KIND_MODEL, "my_model", NULL, char, vt);
