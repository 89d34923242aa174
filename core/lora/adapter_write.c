/* adapter_write.c: what was trained, as a directory that PEFT opens. */
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/lora/adapter_impl.h"
#include "core/params/export_files.h"
#include "core/params/json_write.h"
#include <stdio.h>
#include <string.h>

/* PEFT saves what it trained: A, B, and biases by its mode. That is exactly what is trainable here. */
static int is_written(const param_table *t, uint32_t slot) { return t->slots[slot].owner == slot && t->slots[slot].trainable; }

/* What PEFT calls a parameter: its wrapper keeps an adapted module as base_layer, and so its bias. */
static void tensor_name(const adapter_write_args *a, uint32_t slot, char *buf, size_t cap)
{
    uint32_t n = 0;
    const co_param_slot *s = &a->table->slots[slot];
    const lora_target *t = lora_targets(a->lora, &n);
    int adapted = 0;
    for (uint32_t i = 0; i < n; i++) adapted |= t[i].unit == (uint32_t)param_unit_kind(a->table, s->unit) && t[i].bias == s->index;
    const size_t len = strlen(s->name), end = adapted ? strlen(".bias") : 0;
    snprintf(buf, cap, ADAPTER_PREFIX "%.*s%s", (int)(len - end), s->name, adapted ? ".base_layer.bias" : "");
}

static int write_weights(const adapter_write_args *a, const char *tmp)
{
    const param_table *t = a->table;
    st_writer *w = NULL;
    char name[600];
    char *path = tmp ? fs_join(tmp, ADAPTER_WEIGHTS) : NULL;
    float *buf = mem_calloc(PARAMS_PIECE, sizeof *buf);
    int r = buf && (path || !tmp) ? CO_OK : CO_E_NOMEM, writing = CO_OK;
    if (r == CO_OK && tmp) writing = st_write_begin(path, &w);
    if (w && writing == CO_OK) writing = st_write_meta(w, "format", "pt");
    for (uint32_t i = 0; w && i < t->n_params && writing == CO_OK; i++) {
        if (!is_written(t, i)) continue;
        tensor_name(a, i, name, sizeof name);
        writing = st_write_declare(w, name, CO_F32, t->slots[i].shape.ndim, t->slots[i].shape.ne);
    }
    for (uint32_t i = 0; i < t->n_params && r == CO_OK; i++) /* all reads happen, so that ranks stay in step */
        for (int64_t k = 0; is_written(t, i) && k < param_run_count(t, i) && r == CO_OK; k++) {
            const param_run run = param_run_at(t, i, k);
            for (int64_t at = 0; at < run.n && r == CO_OK; at += PARAMS_PIECE) {
                const int64_t n = run.n - at < PARAMS_PIECE ? run.n - at : PARAMS_PIECE;
                r = a->read(a->ctx, i, run.param + at, n, buf);
                if (r == CO_OK && w && writing == CO_OK) writing = st_write_data(w, buf, (size_t)n * sizeof *buf);
            }
        }
    if (r == CO_OK) r = writing;
    if (w && r == CO_OK) r = st_write_finish(w);
    else st_write_abort(w);
    mem_free(buf);
    mem_free(path);
    return r;
}

static int is_target(const lora *l, uint32_t unit, uint32_t index)
{
    uint32_t n = 0;
    const lora_target *t = lora_targets(l, &n);
    for (uint32_t i = 0; i < n; i++)
        if (t[i].unit == unit && t[i].base == index) return 1;
    return 0;
}

static const char *last_part(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

/* Does "name" as a target also stand for a weight that has no adapter? GPT-2 calls two of a block's products c_proj. */
static int ambiguous(const adapter_write_args *a, const char *name)
{
    const size_t n = strlen(name);
    for (uint32_t unit = 0; unit < 3; unit++)
        for (uint32_t i = 0; i < a->table->n_decls[unit]; i++) {
            const co_param *d = &a->table->decls[unit][i];
            const char *part = last_part(d->file_name), *at = part - 1 - n; /* "….name.weight" */
            if (d->ndim != 2 || is_target(a->lora, unit, i) || strcmp(part, "weight") != 0 || at <= d->file_name) continue;
            if (at[-1] == '.' && strncmp(at, name, n) == 0) return 1;
        }
    return 0;
}

/* A module as PEFT's target_modules names it: the last part of its path, or all that follows the layer if that says too little. */
static const char *target_name(const adapter_write_args *a, const lora_target *t)
{
    const char *name = last_part(t->module), *layer = strstr(t->module, "{}.");
    return layer && ambiguous(a, name) ? layer + 3 : name;
}

static void put_targets(json_text *j, const adapter_write_args *a)
{
    uint32_t n = 0;
    const lora_target *t = lora_targets(a->lora, &n);
    const char *separator = "";
    for (uint32_t i = 0; i < n; i++) {
        const char *name = target_name(a, &t[i]);
        int again = 0;
        for (uint32_t k = 0; k < i && !again; k++) again = strcmp(target_name(a, &t[k]), name) == 0;
        if (again) continue;
        json_text_printf(j, "%s\n    ", separator);
        json_text_string(j, name);
        separator = ",";
    }
}

static int write_config(const adapter_write_args *a, const char *tmp)
{
    static const char *const biases[] = {"none", "all", "lora_only"};
    const lora_spec *s = lora_spec_of(a->lora);
    uint32_t n = 0;
    int transposed = 0;
    const lora_target *t = lora_targets(a->lora, &n);
    for (uint32_t i = 0; i < n; i++) transposed |= (a->table->decls[t[i].unit][t[i].base].flags & CO_PARAM_FILE_TRANSPOSED) != 0;
    json_text j = {0};
    json_text_put(&j, "{\n  \"base_model_name_or_path\": ");
    json_text_string(&j, a->base_path ? a->base_path : "");
    json_text_printf(&j, ",\n  \"bias\": \"%s\",\n  \"fan_in_fan_out\": %s,\n  \"inference_mode\": true,\n", biases[s->bias], transposed ? "true" : "false");
    json_text_printf(&j, "  \"init_lora_weights\": true,\n  \"lora_alpha\": %.17g,\n  \"lora_dropout\": %.17g,\n", s->alpha, s->dropout);
    json_text_printf(&j, "  \"modules_to_save\": null,\n  \"peft_type\": \"LORA\",\n  \"r\": %lld,\n", (long long)s->rank);
    json_text_put(&j, "  \"target_modules\": [");
    put_targets(&j, a);
    json_text_printf(&j, "\n  ],\n  \"task_type\": \"CAUSAL_LM\",\n  \"use_dora\": false,\n  \"use_rslora\": %s\n}\n", s->rslora ? "true" : "false");
    const int r = j.failed ? CO_E_NOMEM : export_file(tmp, ADAPTER_CONFIG, j.text, j.len);
    json_text_free(&j);
    return r;
}

int adapter_write(const adapter_write_args *a)
{
    char *dir = NULL, *tmp = NULL;
    if (a->reads_only) return write_weights(a, NULL);
    const int begun = export_begin(a->dir, &dir, &tmp);
    int r = write_weights(a, begun == CO_OK ? tmp : NULL);
    if (begun) r = begun;
    if (r == CO_OK) r = write_config(a, tmp);
    if (r == CO_OK) r = export_swap(dir, tmp);
    if (r && tmp) export_discard(tmp);
    mem_free(tmp);
    mem_free(dir);
    return r;
}
