/* needs.c: co_feature.needs: what a plugin asks of this host, checked when it is loaded, and of the backend it meets in a run. */
#include "core/host/host_impl.h"
#include "core/base/error.h"
#include <string.h>

static const char *const ops[] = {
#define OP(id, name, min_in, max_in, n_out, diff) name,
#include <coati/ops.def>
#undef OP
};
enum { N_OPS = sizeof ops / sizeof *ops, MAX_NEEDS = 64 };

static int is_op(const char *name)
{
    for (int i = 0; i < N_OPS; i++)
        if (strcmp(ops[i], name) == 0) return 1;
    return 0;
}

int host_check_needs(const co_feature *f, const char *kind, const char *path)
{
    for (int i = 0; f->needs && f->needs[i]; i++) {
        const char *tag = f->needs[i];
        if (i == MAX_NEEDS) return FAIL(CO_E_ABI, "%s: %s '%s' needs more than %d things: does its list end with NULL?", path, kind, f->name, MAX_NEEDS);
        if (strcmp(tag, "mem:device") == 0 || (strncmp(tag, "op:", 3) == 0 && is_op(tag + 3))) continue;
        if (strncmp(tag, "op:", 3) == 0)
            return FAIL(CO_E_ABI, "%s: %s '%s' needs the op \"%.60s\", which this version (plugin ABI %u.%u) has not: use a newer coati", path, kind,
                        f->name, tag + 3, CO_ABI_MAJOR, CO_ABI_MINOR);
        return FAIL(CO_E_ABI, "%s: %s '%s' needs \"%.60s\", which this version does not know; it knows \"op:NAME\" and \"mem:device\"", path, kind,
                    f->name, tag);
    }
    return CO_OK;
}

int host_suits(const host *h, const co_feature *f, const co_backend_vt *be, const char *backend)
{
    for (int i = 0; f->needs && f->needs[i]; i++)
        if (strcmp(f->needs[i], "mem:device") == 0 && !(be->flags & CO_BACKEND_ASYNC))
            return FAIL(CO_E_CONFIG, "%s: %s '%s' needs a device with memory of its own, which backend %s has not: use one that has, such as "
                        "[run] backend = cuda, or another %s", host_path_of(h, f), kind_name((co_kind)f->kind), f->name, backend, kind_name((co_kind)f->kind));
    return CO_OK;
}
