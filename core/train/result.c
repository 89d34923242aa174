/* result.c: what a finished run leaves: model/, or adapter/ and model/ merged if asked. */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/lora/adapter.h"
#include "core/lora/merge.h"
#include "core/params/export.h"
#include "core/train/progress.h"
#include "core/train/run.h"

static int gather(void *ctx, uint32_t param, int64_t first, int64_t n, float *out) { return engine_gather(ctx, param, first, n, out); }

static int write_model(run *r, const char *dir, const param_table *table, params_read_fn read, void *ctx)
{
    static const co_dtype types[] = {[SAVE_FP32] = CO_F32, [SAVE_BF16] = CO_BF16, [SAVE_FP16] = CO_F16};
    const int32_t as = r->o.run.save_dtype;
    const params_export_args a = {.dir = dir, .table = table, .read = read, .ctx = ctx, .config = r->hf, .reads_only = r->rank > 0, .dtype = as == SAVE_AUTO ? r->stored : types[as],
                                  .tokenizer_dir = r->o.tokenizer.path[0] ? r->o.tokenizer.path : r->o.model.path};
    const int s = params_export(&a);
    if (s == CO_OK && r->rank == 0) progress_note("model written to %s", dir);
    return s;
}

static int write_merged(run *r, const char *dir)
{
    param_table *base = NULL;
    int s = param_table_build(r->model, r->model_self, CO_F32, &base);
    if (s) return s;
    lora_merge m = {.lora = r->lora, .base = base, .table = r->table, .read = gather, .ctx = r->engine};
    s = lora_merge_begin(&m);
    if (s == CO_OK) s = write_model(r, dir, base, lora_merge_read, &m);
    lora_merge_end(&m);
    param_table_free(base);
    return s;
}

static int write_adapter(run *r, const char *dir)
{
    const adapter_write_args a = {.dir = dir, .lora = r->lora, .table = r->table, .read = gather, .ctx = r->engine, .base_path = r->o.model.path, .reads_only = r->rank > 0};
    const int s = adapter_write(&a);
    if (s == CO_OK && r->rank == 0) progress_note("adapter written to %s", dir);
    return s;
}

int run_write_result(run *r)
{
    char *model = fs_join(r->o.run.output, "model"), *adapted = fs_join(r->o.run.output, "adapter");
    int s = model && adapted ? CO_OK : CO_E_NOMEM;
    if (s == CO_OK && !r->lora) s = write_model(r, model, r->table, gather, r->engine);
    if (s == CO_OK && r->lora) s = write_adapter(r, adapted);
    if (s == CO_OK && r->lora && r->o.lora.merge) s = write_merged(r, model);
    mem_free(adapted);
    mem_free(model);
    return s;
}
