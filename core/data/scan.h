/* scan.h: every record once, by all readers' threads, so that what is told of them does not depend on the threads. */
#ifndef CORE_DATA_SCAN_H
#define CORE_DATA_SCAN_H
#include "core/data/reader.h"

typedef struct scan_found {
    int64_t n_bad, first_bad; /* passed over; first_bad: place of the first, or -1 */
    char bad[1024];           /* its message */
} scan_found;

/* Places 0 to n-1 in chunks of `chunk` neighbours, each chunk by one thread. visit: CO_OK, CO_END for a record to pass over, or an
 * error; a message is its thread's. Returns the error of the earliest place that failed; every place before it has been visited. */
int scan_places(reader *readers, int32_t n_readers, int64_t n, int64_t chunk, int (*visit)(void *ctx, reader *r, int64_t place), void *ctx,
                scan_found *out);
#endif
