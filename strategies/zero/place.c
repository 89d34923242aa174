/* place.c: memory for what comes and goes on a schedule known in advance. The largest first, each at the lowest place that is
 * free during its stay; all ranks come to the same places. */
#include "zero.h"
#include <stdlib.h>

static int by_size(const void *x, const void *y)
{
    const zero_stay *a = x, *b = y;
    if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
    if (a->from != b->from) return a->from < b->from ? -1 : 1;
    return a->bucket < b->bucket ? -1 : a->bucket > b->bucket;
}

static int overlap(const zero_stay *a, const zero_stay *b, int32_t period)
{
    for (int32_t shift = -period; shift <= period; shift += period)
        if (a->from + shift <= b->to && b->from <= a->to + shift) return 1;
    return 0;
}

size_t zero_place(zero_stay *s, uint32_t n, int32_t period)
{
    size_t total = 0;
    qsort(s, n, sizeof *s, by_size);
    for (uint32_t i = 0; i < n; i++) {
        int moved = 1;
        s[i].at = 0;
        while (moved) { /* past each one in the way; the place only grows, so this ends */
            moved = 0;
            for (uint32_t k = 0; k < i; k++)
                if (overlap(&s[i], &s[k], period) && s[i].at < s[k].at + s[k].bytes && s[k].at < s[i].at + s[i].bytes)
                    s[i].at = s[k].at + s[k].bytes, moved = 1;
        }
        if (s[i].at + s[i].bytes > total) total = s[i].at + s[i].bytes;
    }
    return total;
}
