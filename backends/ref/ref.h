/* ref.h: inside of the reference backend: views of values, the table of ops. */
#ifndef REF_BACKEND_H
#define REF_BACKEND_H
#include <coati/coati.h>

/* A value of the line at hand with its live rows. [n] is n rows of one column; three and more dimensions are
 * ne[0] rows of everything else. */
typedef struct ref_view {
    double *p;    /* NULL: absent, unwanted or frozen */
    int32_t *ids; /* the same place, for CO_I32       */
    int64_t rows, cols, stride;
    int add; /* GRAD: a result is added to what is there */
} ref_view;

typedef struct ref_line {
    const co_host *host;
    const co_step_op *op;
    const co_live *live;
    ref_view in[8], out[8];
} ref_line;

typedef void (*ref_op)(const ref_line *s);
extern const ref_op ref_ops[CO_OP_COUNT]; /* table.c; every op has one */

static inline double ref_get(const ref_view *v, int64_t r, int64_t c) { return v->p[r * v->stride + c]; }
/* Every result goes through here: unwanted ones vanish, gradients of parameters add up. */
static inline void ref_put(const ref_view *v, int64_t r, int64_t c, double x)
{
    if (!v->p) return;
    double *at = v->p + r * v->stride + c;
    *at = v->add ? *at + x : x;
}

int ref_flat_cast(void *self, void *dst, co_dtype dt, const void *src, co_dtype st, int64_t n, co_stream on);
int ref_flat_axpy(void *self, void *y, const void *x, co_dtype t, float a, int64_t n, co_stream on);
int ref_flat_absmax(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on);
int ref_flat_sqnorm(void *self, const void *x, co_dtype t, int64_t n, double *out, co_stream on);
int ref_flat_step_factor(void *self, const co_step_rule *rule, const double *sums, int64_t n, co_step_state *state, co_stream on);
int ref_flat_adamw(void *self, const co_optim_slice *s, float b1, float b2, float eps, float wd, co_stream on);
#endif
