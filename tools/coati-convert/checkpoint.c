/* checkpoint.c: what a run kept at a step, as a model directory, or with LoRA as an adapter directory. The run's configuration
 * lies beside the weights and says which model it was, and what trained. */
#include "convert.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/lora/adapter.h"
#include "core/params/load.h"
#include "core/train/options.h"
#include "net.h"
#include <stdio.h>
#include <string.h>

typedef struct restoring {
    const convert_args *a;
    const char *base; /* directory with config.json and the tokenizer */
    options o;
    net n;
    lora *lora;
    param_table *table; /* of the model, or of the model with its adapters */
    st_set *kept, *rest;
    float **frozen;     /* by slot: values that the checkpoint does not hold, from the base; else NULL */
} restoring;

static char *part(const char *dir, const char *name) { return fs_join(dir, name); }

int is_checkpoint(const char *dir)
{
    char *a = part(dir, "state.json"), *b = part(dir, "weights.safetensors");
    const int yes = a && b && fs_is_file(a) && fs_is_file(b);
    mem_free(a);
    mem_free(b);
    return yes;
}

static int read_config(restoring *x, config **out)
{
    char *path = part(x->a->input, "config.ini");
    int r = path ? CO_OK : CO_E_NOMEM;
    *out = config_new();
    if (!*out) r = CO_E_NOMEM;
    if (r == CO_OK && !fs_is_file(path)) r = FAIL(CO_E_FORMAT, "%s: no such file: a checkpoint has the run's configuration beside it", path);
    if (r == CO_OK) r = config_read_file(*out, path);
    if (r == CO_OK) r = options_bind(*out, &x->o);
    if (r == CO_OK) x->base = x->a->base ? x->a->base : x->o.model.path;
    mem_free(path);
    return r;
}

static int open_table(restoring *x)
{
    const lora_opts *o = &x->o.lora;
    const lora_spec spec = {.rank = o->rank, .alpha = o->alpha, .dropout = o->dropout, .rslora = o->rslora, .bias = o->bias, .targets = o->targets};
    x->table = x->n.base;
    if (o->rank == 0) return CO_OK;
    int r = lora_open(host_services(x->n.host), x->n.model, x->n.model_self, &spec, &x->lora);
    if (r == CO_OK) r = param_table_build(lora_model(x->lora), x->lora, CO_F32, &x->table);
    return r == CO_OK ? lora_freeze(x->lora, x->table) : r;
}

/* Every parameter the result holds must be in the checkpoint, or else in the base. */
static int check(restoring *x, int *needs_base)
{
    for (uint32_t i = 0; i < x->table->n_params; i++) {
        const co_param_slot *s = &x->table->slots[i];
        if (s->owner != i || (x->lora && !s->trainable)) continue;
        const st_tensor *t = st_find(x->kept, s->name);
        if (!t && x->o.model.train == TRAIN_EMBEDDINGS) {
            *needs_base = 1;
            continue;
        }
        if (!t || t->dtype != CO_F32 || t->bytes != (size_t)param_elements(s) * sizeof(float))
            return FAIL(CO_E_FORMAT, "%s: tensor \"%s\" is missing or of another size than %s says: is that the model this checkpoint is of?", x->a->input,
                        s->name, x->base);
    }
    return CO_OK;
}

static int keep_frozen(void *ctx, uint32_t param, int64_t first, int64_t n, const float *values)
{
    restoring *x = ctx;
    const co_param_slot *s = &x->table->slots[param];
    if (st_find(x->kept, s->name)) return CO_OK;
    if (!x->frozen[param]) x->frozen[param] = mem_calloc((size_t)param_elements(s), sizeof(float));
    if (!x->frozen[param]) return CO_E_NOMEM;
    memcpy(x->frozen[param] + first, values, (size_t)n * sizeof *values);
    return CO_OK;
}

static int load_base(restoring *x)
{
    x->frozen = mem_calloc(x->table->n_params, sizeof *x->frozen);
    if (!x->frozen) return CO_E_NOMEM;
    if (x->o.model.init == INIT_RANDOM) return params_init(x->table, (uint64_t)x->o.run.seed, keep_frozen, x);
    int r = weights_open(x->base, &x->rest);
    return r == CO_OK ? params_load(x->table, x->rest, x->n.hf, (uint64_t)x->o.run.seed, keep_frozen, x, NULL) : r;
}

static int read_kept(void *ctx, uint32_t param, int64_t first, int64_t n, float *out)
{
    restoring *x = ctx;
    const st_tensor *t = st_find(x->kept, x->table->slots[param].name);
    if (t) return st_read_f32(t, first, n, out);
    memcpy(out, x->frozen[param] + first, (size_t)n * sizeof *out);
    return CO_OK;
}

static int write_result(restoring *x)
{
    const convert_args *a = x->a;
    if (x->lora) {
        const adapter_write_args w = {.dir = a->output, .lora = x->lora, .table = x->table, .read = read_kept, .ctx = x, .base_path = x->base};
        if (a->dtype != DTYPE_KEEP && a->dtype != CO_F32) return FAIL(CO_E_CONFIG, "--dtype: an adapter is written as fp32; merge it and choose then");
        return adapter_write(&w);
    }
    const params_export_args e = {.dir = a->output, .table = x->table, .read = read_kept, .ctx = x, .config = x->n.hf, .dtype = a->dtype == DTYPE_KEEP ? CO_F32 : (co_dtype)a->dtype,
                                  .tokenizer_dir = x->o.tokenizer.path[0] && !a->base ? x->o.tokenizer.path : x->base, .shard_bytes = a->shard_bytes};
    return params_export(&e);
}

int convert_checkpoint(const convert_args *a)
{
    restoring x = {.a = a};
    config *c = NULL;
    int needs_base = 0;
    char *path = part(a->input, "weights.safetensors");
    int r = path ? read_config(&x, &c) : CO_E_NOMEM;
    if (r == CO_OK) r = net_open_model(&x.n, a, x.base, c);
    else config_free(c);
    if (r == CO_OK) r = open_table(&x);
    if (r == CO_OK) r = st_open_file(path, &x.kept);
    if (r == CO_OK) r = check(&x, &needs_base);
    if (r == CO_OK && needs_base) r = load_base(&x);
    if (r == CO_OK) r = write_result(&x);
    if (r == CO_OK) printf("%s: %s of %s\n", a->output, x.lora ? "adapter" : "model", a->input);
    for (uint32_t i = 0; x.frozen && i < x.table->n_params; i++) mem_free(x.frozen[i]);
    mem_free(x.frozen);
    st_close(x.rest);
    st_close(x.kept);
    if (x.table != x.n.base) param_table_free(x.table);
    lora_close(x.lora);
    net_close(&x.n);
    mem_free(path);
    return r;
}
