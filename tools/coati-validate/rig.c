/* rig.c: see rig.h. */
#include "rig.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/rng.h"
#include "core/params/load.h"
#include <stdio.h>
#include <string.h>

const char *tiny_config(const char *model_type)
{
    static char text[1200];
    snprintf(text, sizeof text,
             "{\"model_type\": \"%s\", \"vocab_size\": 29, \"hidden_size\": 16, \"n_embed\": 16, \"n_embd\": 16, \"word_embed_proj_dim\": 16, "
             "\"num_hidden_layers\": 2, \"n_layer\": 2, \"num_attention_heads\": 2, \"n_head\": 2, \"num_key_value_heads\": 1, "
             "\"intermediate_size\": 24, \"ffn_dim\": 24, \"n_inner\": 24, \"max_position_embeddings\": 32, \"n_positions\": 32, \"n_ctx\": 32}",
             model_type);
    return text;
}

/* The feature of a kind: the one under test, or coati's own. */
static int feature(const subject *s, rig *r, int standard, co_kind kind, const char *name, const co_feature **f, const void **opts)
{
    if (r->n_bound == 16) return FAIL(CO_E_STATE, "too many parts");
    int rc = CO_OK;
    if (!standard && s->f->kind == (uint32_t)kind) *f = s->f;
    else rc = host_feature(s->host, kind, name, f);
    bound *b = &r->bound[r->n_bound];
    if (rc) return rc;
    r->n_bound++;
    rc = subject_bind(s, *f, NULL, b);
    *opts = b->opts;
    return rc;
}

static int open_config(const subject *s, rig *r, int standard)
{
    if (!standard && s->f->kind == CO_KIND_MODEL) {
        r->config = s->model_config;
        return CO_OK;
    }
    const char *text = tiny_config("llama");
    r->owns_config = 1;
    return hf_config_parse(text, strlen(text), "config.json", &r->config);
}

static int open_parts(const subject *s, rig *r, int standard)
{
    const co_host *h = host_services(s->host);
    const co_feature *f;
    const void *opts = NULL;
    int rc = feature(s, r, standard, CO_KIND_BACKEND, "cpu", &f, &opts);
    if (rc == CO_OK) r->backend = host_backend(s->host, f), rc = r->backend->open(h, opts, &r->backend_self);
    if (rc == CO_OK) rc = feature(s, r, standard, CO_KIND_COMM, "self", &f, &opts);
    if (rc == CO_OK) r->comm = host_comm(s->host, f), rc = r->comm->open(h, opts, r->backend, r->backend_self, &r->comm_self);
    if (rc == CO_OK) rc = feature(s, r, standard, CO_KIND_OPTIMIZER, "adamw", &f, &opts);
    if (rc == CO_OK) r->optim = host_optimizer(s->host, f), rc = r->optim->open(h, opts, &r->optim_self);
    if (rc == CO_OK) rc = feature(s, r, standard, CO_KIND_LOSS, "causal_lm", &f, &opts);
    if (rc == CO_OK) r->loss = host_loss(s->host, f), rc = r->loss->open(h, opts, &r->loss_self);
    if (rc == CO_OK) rc = feature(s, r, standard, CO_KIND_STRATEGY, "naive", &f, &r->strategy_opts);
    if (rc == CO_OK) r->strategy = host_strategy(s->host, f), rc = open_config(s, r, standard);
    if (rc == CO_OK) rc = feature(s, r, standard, CO_KIND_MODEL, "llama", &f, &opts);
    if (rc == CO_OK) r->model = host_model(s->host, f), rc = r->model->open(h, opts, hf_config_meta(r->config), &r->model_self);
    return rc;
}

static int write_param(void *ctx, uint32_t param, int64_t first, int64_t n, const float *v) { return engine_write(ctx, param, 0, first, n, v); }

int rig_open(const subject *s, int standard, int checkpoint_blocks, rig *r)
{
    static const engine_column columns[] = {{"labels", CO_I32, CO_ROWS_TOKENS}, {"mask", CO_F32, CO_ROWS_TOKENS}};
    memset(r, 0, sizeof *r);
    r->host = s->host;
    int rc = open_parts(s, r, standard);
    if (rc == CO_OK) rc = param_table_build(r->model, r->model_self, CO_F32, &r->table);
    if (rc) return rc;
    const engine_args a = {.host = host_services(s->host), .backend = r->backend, .backend_self = r->backend_self, .model = r->model, .model_self = r->model_self,
                           .params = r->table, .strategy = r->strategy, .strategy_opts = r->strategy_opts, .comm = r->comm, .comm_self = r->comm_self,
                           .optim = r->optim, .optim_self = r->optim_self, .loss = r->loss, .loss_self = r->loss_self, .columns = columns, .n_columns = 2,
                           .max_tokens = RIG_TOKENS + 2, .max_seqs = RIG_SEQS + 1, .slots = RIG_SEQS, .slot_len = RIG_TOKENS, .pass_tokens = RIG_TOKENS,
                           .pass_rows = RIG_TOKENS, .checkpoint_blocks = checkpoint_blocks};
    rc = engine_open(&a, &r->engine);
    if (rc == CO_OK) rc = engine_allocate(r->engine);
    return rc == CO_OK ? params_init(r->table, 5, write_param, r->engine) : rc;
}

void rig_close(rig *r)
{
    engine_close(r->engine);
    param_table_free(r->table);
    if (r->model_self) r->model->close(r->model_self);
    if (r->loss_self) r->loss->close(r->loss_self);
    if (r->optim_self) r->optim->close(r->optim_self);
    if (r->comm_self) r->comm->close(r->comm_self);
    if (r->backend_self) r->backend->close(r->backend_self);
    if (r->owns_config) hf_config_close(r->config);
    while (r->n_bound) bound_free(&r->bound[--r->n_bound]);
    memset(r, 0, sizeof *r);
}

void rig_batch_make(const rig *r, rig_batch *b)
{
    static const int32_t start[RIG_SEQS + 1] = {0, 6, 7, RIG_TOKENS};
    memcpy(b->start, start, sizeof start);
    b->n_labels = 0;
    for (int s = 0; s < RIG_SEQS; s++) {
        b->key[s] = 40 + (uint64_t)s;
        for (int32_t i = start[s]; i < start[s + 1]; i++) b->positions[i] = i - start[s];
    }
    for (int i = 0; i < RIG_TOKENS; i++) b->ids[i] = (int32_t)rng_below(8, 4712, (uint64_t)i, r->table->info.n_vocab);
    for (int i = 0; i < RIG_TOKENS; i++) {
        const int last = i + 1 == RIG_TOKENS || b->positions[i + 1] == 0;
        b->labels[i] = last ? -100 : b->ids[i + 1];
        b->mask[i] = last ? 0 : 1;
        b->n_labels += b->mask[i];
    }
}

int rig_step(rig *r, const rig_batch *b, int64_t step, double *loss, co_step_stats *stats)
{
    const void *columns[2] = {b->labels, b->mask};
    const engine_batch batch = {.n_tokens = RIG_TOKENS, .n_seqs = RIG_SEQS, .ids = b->ids, .positions = b->positions, .seq_start = b->start, .seq_key = b->key, .columns = columns};
    engine_result res;
    int rc = engine_micro_step(r->engine, &batch, 1 / b->n_labels, 1, step, 1, &res);
    if (rc == CO_OK) rc = engine_step(r->engine, step, 5e-3, 1, stats);
    *loss = rc == CO_OK ? res.loss : 0;
    return rc;
}

int rig_checksum(rig *r, uint64_t *out)
{
    *out = 14695981039346656037u;
    for (uint32_t p = 0; p < r->table->n_params; p++) {
        const int64_t n = param_elements(&r->table->slots[p]);
        if (r->table->slots[p].owner != p) continue;
        float *v = mem_calloc((size_t)n, sizeof *v);
        const int rc = v ? engine_gather(r->engine, p, 0, n, v) : CO_E_NOMEM;
        for (int64_t i = 0; rc == CO_OK && i < n; i++) {
            uint32_t bits;
            memcpy(&bits, &v[i], sizeof bits);
            *out = (*out ^ bits) * 1099511628211u;
        }
        mem_free(v);
        if (rc) return rc;
    }
    return CO_OK;
}
