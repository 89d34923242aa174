/* loss.c: masked sums and the seed of a backward. */
#include "ops.h"

/* sum_t x_t mask_t * inv_denom */
void ref_MASKED_MEAN(const ref_line *s)
{
    double sum = 0;
    for (int64_t t = 0; t < s->in[0].rows; t++) sum += ref_get(&s->in[0], t, 0) * ref_get(&s->in[1], t, 0);
    ref_put(&s->out[0], 0, 0, sum * s->live->inv_denom);
}
void ref_MASKED_MEAN_BWD(const ref_line *s)
{
    for (int64_t t = 0; t < s->in[0].rows; t++)
        ref_put(&s->out[0], t, 0, ref_get(&s->in[0], t, 0) * ref_get(&s->in[1], 0, 0) * s->live->inv_denom);
}
/* y_q = sum over the tokens t of sequence q of x_t mask_t */
void ref_MASKED_SUM_ROWS(const ref_line *s)
{
    for (int32_t q = 0; q < s->live->n_seqs; q++) {
        double sum = 0;
        for (int64_t t = s->live->seq_start[q]; t < s->live->seq_start[q + 1]; t++)
            sum += ref_get(&s->in[0], t, 0) * ref_get(&s->in[1], t, 0);
        ref_put(&s->out[0], q, 0, sum);
    }
}
void ref_MASKED_SUM_ROWS_BWD(const ref_line *s)
{
    for (int32_t q = 0; q < s->live->n_seqs; q++)
        for (int64_t t = s->live->seq_start[q]; t < s->live->seq_start[q + 1]; t++)
            ref_put(&s->out[0], t, 0, ref_get(&s->in[0], t, 0) * ref_get(&s->in[1], q, 0));
}
void ref_LOSS_SEED(const ref_line *s)
{
    ref_put(&s->out[0], 0, 0, (double)s->live->loss_weight * (s->live->loss_scale ? (double)*s->live->loss_scale : 1));
}
