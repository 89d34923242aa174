/* gradients.c: derivatives against differences. The bound is norm-wise over a sample of elements: 1e-6 of the differences' norm,
 * and what differences of sums near 1 can resolve. */
#include "gradients.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/base/rng.h"
#include <math.h>
#include <string.h>

#define STEP 1e-5
enum { SAMPLES = 12 };

static int difference(unit *u, double *at, double *out)
{
    const double kept = *at;
    *at = kept + STEP;
    int r = unit_forward(u);
    const double up = unit_objective(u);
    *at = kept - STEP;
    if (r == CO_OK) r = unit_forward(u);
    *out = (up - unit_objective(u)) / (2 * STEP);
    *at = kept;
    return r;
}

static int check_tensor(unit *u, double *values, const double *grad, int64_t n, const char *name, double *worst, const char **where)
{
    double diff = 0, norm = 0;
    const int64_t count = n < SAMPLES ? n : SAMPLES;
    for (int64_t k = 0; k < count; k++) {
        const int64_t i = n <= SAMPLES ? k : (int64_t)rng_below(3, 77, (uint64_t)k, (uint64_t)n);
        double want = 0;
        const int r = difference(u, &values[i], &want);
        if (r) return r;
        diff += (grad[i] - want) * (grad[i] - want);
        norm += want * want;
    }
    const double share = sqrt(diff) / (1e-6 * sqrt(norm) + 2e-9 * sqrt((double)count));
    if (!(share <= *worst)) *worst = share, *where = name; /* NaN too */
    return CO_OK;
}

int gradients_check(unit *u, double *worst, const char **where)
{
    *worst = 0;
    *where = "";
    int r = unit_forward(u);
    if (r == CO_OK) r = unit_backward(u);
    const size_t hidden = (size_t)(UNIT_TOKENS * u->a.d_model);
    /* Copies: a loss's forward writes its gradients again. */
    double *dx = mem_calloc(hidden, sizeof *dx);
    if (!dx) return CO_E_NOMEM;
    memcpy(dx, u->dx, hidden * sizeof *dx);
    for (uint32_t p = 0; p < u->a.n_params && r == CO_OK; p++) {
        const int64_t n = param_elements(&u->a.slots[p]);
        if (!u->graph->param_value[p]) continue; /* never asked for */
        double *g = mem_calloc((size_t)n, sizeof *g);
        if (!g) r = CO_E_NOMEM;
        if (r == CO_OK) r = unit_forward(u);
        if (r == CO_OK) r = unit_backward(u);
        if (r == CO_OK) memcpy(g, u->grads[p].data, (size_t)n * sizeof *g);
        if (r == CO_OK) r = check_tensor(u, u->params[p].data, g, n, u->a.decls[p].local_name, worst, where);
        mem_free(g);
    }
    if (r == CO_OK && u->a.has_x) r = check_tensor(u, u->x, dx, (int64_t)hidden, "the unit's input", worst, where);
    mem_free(dx);
    return r;
}
