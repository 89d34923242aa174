/* worker.c: one thread that takes jobs in the order they were posted. It allocates nothing and calls no collective; what it
 * fails at is found by whoever waits next. */
#include "zero.h"
#include <pthread.h>

struct zero_worker {
    zero *z;
    pthread_t thread;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    zero_job *ring;
    int64_t posted, done, capacity;
    int status, closing;
};

static void *work(void *ctx)
{
    zero_worker *w = ctx;
    pthread_mutex_lock(&w->mu);
    for (;;) {
        while (w->done == w->posted && !w->closing) pthread_cond_wait(&w->changed, &w->mu);
        if (w->done == w->posted) break;
        const zero_job job = w->ring[w->done % w->capacity];
        int r = w->status;
        pthread_mutex_unlock(&w->mu);
        if (r == CO_OK) r = zero_run_job(w->z, &job);
        pthread_mutex_lock(&w->mu);
        w->status = r;
        w->done++;
        pthread_cond_broadcast(&w->changed);
    }
    pthread_mutex_unlock(&w->mu);
    return NULL;
}

int zero_worker_open(zero *z)
{
    const co_host *h = z->a.host;
    zero_worker *w = h->alloc(h, sizeof *w, 16);
    if (!w) return CO_FAIL(h, CO_E_NOMEM, "strategy %s: out of memory", z->policy->name);
    w->z = z;
    w->capacity = 2 * (int64_t)z->n_buckets + 4;
    w->ring = h->alloc(h, (size_t)w->capacity * sizeof *w->ring, 16);
    pthread_mutex_init(&w->mu, NULL);
    pthread_cond_init(&w->changed, NULL);
    if (w->ring && pthread_create(&w->thread, NULL, work, w) == 0) {
        z->worker = w;
        return CO_OK;
    }
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->mu);
    if (w->ring) h->free(h, w->ring);
    h->free(h, w);
    return CO_FAIL(h, CO_E_NOMEM, "strategy %s: no thread or memory for updates on the CPU", z->policy->name);
}

void zero_worker_close(zero *z)
{
    zero_worker *w = z->worker;
    if (!w) return;
    pthread_mutex_lock(&w->mu);
    w->closing = 1;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mu);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->mu);
    z->a.host->free(z->a.host, w->ring);
    z->a.host->free(z->a.host, w);
    z->worker = NULL;
}

int64_t zero_worker_post(zero *z, const zero_job *job)
{
    zero_worker *w = z->worker;
    pthread_mutex_lock(&w->mu);
    while (w->posted - w->done == w->capacity) pthread_cond_wait(&w->changed, &w->mu);
    w->ring[w->posted % w->capacity] = *job;
    const int64_t ticket = ++w->posted;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mu);
    return ticket;
}

int zero_worker_wait(zero *z, int64_t ticket)
{
    zero_worker *w = z->worker;
    if (!w) return CO_OK;
    pthread_mutex_lock(&w->mu);
    if (ticket > w->posted) ticket = w->posted;
    while (w->done < ticket) pthread_cond_wait(&w->changed, &w->mu);
    const int r = w->status;
    pthread_mutex_unlock(&w->mu);
    return r ? CO_FAIL(z->a.host, r, "strategy %s: work on gradients or weights in host memory failed", z->policy->name) : CO_OK;
}
