/* serving.c: which model plugin understands a model directory. */
#include "core/base/error.h"
#include "core/host/host.h"
#include <stdio.h>
#include <string.h>

int host_model_for(host *h, const char *model_type, const char *config_path, void (*bad)(void *ctx, const char *path, const char *why),
                   void *ctx, const co_feature **out)
{
    char there[400] = "";
    size_t at = 0;
    const int r = host_load_all(h, CO_KIND_MODEL, bad, ctx);
    if (r) return r;
    for (size_t i = 0; i < host_count(h); i++) {
        const co_feature *f = host_at(h, i);
        const co_model_vt *vt = host_model(h, f);
        for (const char *const *t = vt ? vt->model_types : NULL; t && *t; t++) {
            if (strcmp(*t, model_type) == 0) return *out = f, CO_OK;
            if (at < sizeof there) at += (size_t)snprintf(there + at, sizeof there - at, "%s%s", at ? ", " : "", *t);
        }
    }
    if (!*model_type)
        return FAIL(CO_E_FORMAT, "%s: no \"model_type\", so no model plugin can be chosen; the installed ones serve: %s", config_path,
                    there[0] ? there : "nothing");
    return FAIL(CO_E_FORMAT, "%s: model_type \"%s\" is served by no installed model plugin; they serve: %s", config_path, model_type,
                there[0] ? there : "nothing");
}
