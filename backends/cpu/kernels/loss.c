/* loss.c: masked sums, in double and in order. */
#include "kernels.h"

void k_masked_mean(const cpu_step *s)
{
    double sum = 0;
    for (int64_t t = 0; t < s->in[0].rows; t++) sum += (double)s->in[0].p[t] * s->in[1].p[t];
    s->out[0].p[0] = (float)(sum * (double)s->live->inv_denom);
}
void k_masked_mean_bwd(const cpu_step *s)
{
    const float d = s->in[1].p[0] * s->live->inv_denom;
    for (int64_t t = 0; t < s->out[0].rows; t++) s->out[0].p[t] = s->in[0].p[t] * d;
}
void k_masked_sum_rows(const cpu_step *s)
{
    for (int32_t q = 0; q < s->live->n_seqs; q++) {
        double sum = 0;
        for (int32_t t = s->live->seq_start[q]; t < s->live->seq_start[q + 1]; t++) sum += (double)s->in[0].p[t] * s->in[1].p[t];
        s->out[0].p[q] = (float)sum;
    }
}
void k_masked_sum_rows_bwd(const cpu_step *s)
{
    for (int32_t q = 0; q < s->live->n_seqs; q++)
        for (int32_t t = s->live->seq_start[q]; t < s->live->seq_start[q + 1]; t++) s->out[0].p[t] = s->in[0].p[t] * s->in[1].p[q];
}
void k_loss_seed(const cpu_step *s)
{
    s->out[0].p[0] = s->live->loss_weight * (s->live->loss_scale ? *s->live->loss_scale : 1.0f);
}
