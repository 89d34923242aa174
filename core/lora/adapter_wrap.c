/* adapter_wrap.c: one model for one adapter, or for several in turn. */
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/lora/adapter_impl.h"
#include <string.h>

/* Alone first: whatever does not fit is then that adapter's, whoever else is there. */
static int check_one(const co_host *h, const co_model_vt *vt, void *model, const param_table *base, const char *base_name, const adapter *a)
{
    lora *l = NULL;
    int r = adapter_check(a, base, base_name);
    if (r) return r;
    r = lora_open(h, vt, model, &a->spec, &l);
    lora_close(l);
    return r == CO_E_CONFIG ? error_prefix(CO_E_FORMAT, "%s", a->dir) : r;
}

/* Largest rank, all targets. */
static int common_spec(adapter *const *list, size_t n, lora_spec *out, char **text)
{
    *out = list[0]->spec;
    int r = CO_OK;
    for (size_t i = 0; i < n && r == CO_OK; i++) {
        const char *p = list[i]->targets;
        if (n > 1 && list[i]->has_bias)
            r = FAIL(CO_E_UNSUPPORTED, "%s: an adapter with biases can only be used alone, not beside others", list[i]->dir);
        while (r == CO_OK && *p) {
            char *one = mem_printf("%.*s", (int)strcspn(p, ","), p);
            r = one ? adapter_add_target(text, one) : CO_E_NOMEM;
            mem_free(one);
            p += strcspn(p, ",");
            p += *p == ',';
        }
        if (list[i]->spec.rank > out->rank) *out = list[i]->spec;
    }
    out->targets = *text;
    out->wide = n > 1;
    return r;
}

int adapter_wrap(const co_host *h, const co_model_vt *vt, void *model, const param_table *base, const char *base_name, adapter *const *list,
                 size_t n, lora **out)
{
    lora_spec spec;
    char *targets = NULL;
    int r = CO_OK;
    for (size_t i = 0; i < n && r == CO_OK; i++) r = check_one(h, vt, model, base, base_name, list[i]);
    if (r == CO_OK) r = common_spec(list, n, &spec, &targets);
    if (r == CO_OK) r = lora_open(h, vt, model, &spec, out);
    mem_free(targets);
    return r;
}
