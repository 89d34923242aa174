/* subset.h: [dataset] split: which records train and which are held out, by what they say, so that neither order nor
 * number of records moves one from one part to the other. */
#ifndef CORE_DATA_SUBSET_H
#define CORE_DATA_SUBSET_H
#include <coati/dataset.h>

/* Reads every record once. *out: ascending record indices, freed with mem_free. A record that cannot be read counts
 * to the training part, where it is reported as any other. */
int subset_build(const co_dataset_vt *dataset, void *self, int64_t n_records, double split, int held_out, int64_t **out,
                 int64_t *n_out);
#endif
