/* cache.h: pages already decoded, for the whole process: many files and threads, one budget. */
#ifndef DATASETS_PARQUET_CACHE_H
#define DATASETS_PARQUET_CACHE_H
#include "page.h"

/* The slot's page, held until released; NULL when it is not kept. */
pq_page *pq_cache_get(pq_slot *slot);
/* Offers a page just read; returns the one to use (another thread may have been first), held. What was used longest ago goes
 * when all take more than PQ_CACHE_BUDGET; pages in use stay. */
pq_page *pq_cache_put(pq_slot *slot, pq_page *page);
void pq_cache_release(pq_page *page);
/* The same for a page whose rows have all been read, in order: whoever reads like that is not coming back soon, and the next
 * page does best in memory that is still at hand. Returns it, no longer kept, unless somebody else uses it. */
pq_page *pq_cache_take(pq_page *page);
/* Before a slot ends; nobody uses its page any more. */
void pq_cache_drop(pq_slot *slot);
#endif
