#include "cache.h"

#include <pthread.h>

static struct {
    pthread_mutex_t mu;
    pq_page *newest, *oldest;
    size_t memory;
} cache = { .mu = PTHREAD_MUTEX_INITIALIZER };

static void unlink_page(pq_page *p)
{
    *(p->newer ? &p->newer->older : &cache.newest) = p->older;
    *(p->older ? &p->older->newer : &cache.oldest) = p->newer;
    p->newer = p->older = NULL;
}

static void link_newest(pq_page *p)
{
    p->older = cache.newest;
    if (cache.newest) cache.newest->newer = p;
    else cache.oldest = p;
    cache.newest = p;
}

static void evict(pq_page *p)
{
    unlink_page(p);
    cache.memory -= p->memory;
    p->slot->page = NULL;
}

static void forget(pq_page *p)
{
    evict(p);
    pq_page_free(p);
}

static void shrink(void)
{
    pq_page *p = cache.oldest;
    while (p && cache.memory > PQ_CACHE_BUDGET) {
        pq_page *newer = p->newer;
        if (!p->users) forget(p);
        p = newer;
    }
}

pq_page *pq_cache_get(pq_slot *slot)
{
    pq_page *p;
    pthread_mutex_lock(&cache.mu);
    p = slot->page;
    if (p) {
        p->users++;
        if (p != cache.newest) {
            unlink_page(p);
            link_newest(p);
        }
    }
    pthread_mutex_unlock(&cache.mu);
    return p;
}

pq_page *pq_cache_put(pq_slot *slot, pq_page *page)
{
    pq_page *twin;
    pthread_mutex_lock(&cache.mu);
    twin = slot->page;
    if (twin) {
        twin->users++;
    } else {
        slot->page = page;
        page->slot = slot;
        page->users = 1;
        cache.memory += page->memory;
        link_newest(page);
        shrink();
    }
    pthread_mutex_unlock(&cache.mu);
    if (!twin) return page;
    pq_page_free(page);
    return twin;
}

void pq_cache_release(pq_page *page)
{
    pthread_mutex_lock(&cache.mu);
    if (!--page->users && cache.memory > PQ_CACHE_BUDGET) shrink();
    pthread_mutex_unlock(&cache.mu);
}

pq_page *pq_cache_take(pq_page *page)
{
    pthread_mutex_lock(&cache.mu);
    if (--page->users) page = NULL;
    else evict(page);
    pthread_mutex_unlock(&cache.mu);
    return page;
}

void pq_cache_drop(pq_slot *slot)
{
    pthread_mutex_lock(&cache.mu);
    if (slot->page) forget(slot->page);
    pthread_mutex_unlock(&cache.mu);
}
