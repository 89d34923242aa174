#include "core/data/scan.h"
#include "core/base/error.h"

typedef struct scan_job {
    pthread_mutex_t mu;
    int64_t next, n, chunk;
    int (*visit)(void *ctx, reader *r, int64_t place);
    void *ctx;
    int64_t error_at, bad_at; /* n: none */
    int code;
    char error[1024];
    scan_found *found;
} scan_job;

static void note(int64_t *at, int64_t place, char *text, size_t cap)
{
    if (*at < place) return;
    *at = place;
    error_take(text, cap);
}

static void *run(void *arg)
{
    reader *r = arg;
    scan_job *j = r->job;
    pthread_mutex_lock(&j->mu);
    /* Chunks are taken in order, so every record before the earliest error is read. */
    while (j->next < j->n && j->next < j->error_at) {
        int64_t i = j->next, end = i + j->chunk < j->n ? i + j->chunk : j->n;
        int rc = CO_OK;
        j->next = end;
        pthread_mutex_unlock(&j->mu);
        for (; i < end; i++) {
            rc = j->visit(j->ctx, r, i);
            if (rc == CO_OK) continue;
            if (rc != CO_END) break;
            rc = CO_OK;
            pthread_mutex_lock(&j->mu);
            j->found->n_bad++;
            note(&j->bad_at, i, j->found->bad, sizeof j->found->bad);
            pthread_mutex_unlock(&j->mu);
        }
        pthread_mutex_lock(&j->mu);
        if (rc && i < j->error_at) {
            j->code = rc;
            note(&j->error_at, i, j->error, sizeof j->error);
        }
    }
    pthread_mutex_unlock(&j->mu);
    return NULL;
}

int scan_places(reader *readers, int32_t n_readers, int64_t n, int64_t chunk, int (*visit)(void *ctx, reader *r, int64_t place), void *ctx,
                scan_found *out)
{
    scan_job j = {.n = n, .chunk = chunk, .visit = visit, .ctx = ctx, .error_at = n, .bad_at = n, .found = out};
    int32_t started = 1;
    *out = (scan_found){.first_bad = -1};
    pthread_mutex_init(&j.mu, NULL);
    for (int32_t i = 0; i < n_readers; i++) readers[i].job = &j;
    /* A thread that does not start is no loss here: the others take its share. */
    while (started < n_readers && !pthread_create(&readers[started].thread, NULL, run, &readers[started])) started++;
    run(&readers[0]);
    for (int32_t i = 1; i < started; i++) pthread_join(readers[i].thread, NULL);
    pthread_mutex_destroy(&j.mu);
    if (j.bad_at < n) out->first_bad = j.bad_at;
    return j.code ? FAIL(j.code, "%s", j.error) : CO_OK;
}
