#include "core/train/sample.h"
#include "core/base/rng.h"
#include <math.h>

void sample_row(const sample_opts *o, uint64_t key, int64_t position, float row[4])
{
    row[0] = (float)o->temperature;
    row[1] = (float)o->top_k;
    row[2] = (float)o->top_p;
    row[3] = (float)(floor(rng_uniform(o->seed, RNG_SAMPLE, (key << 24) + (uint64_t)position) * 0x1p24) * 0x1p-24); /* stays below 1 */
}
