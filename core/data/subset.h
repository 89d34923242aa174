/* subset.h: [dataset] split: which records train and which are held out, by what they say, so that neither order nor
 * number of records moves one from one part to the other.
 *
 * What a record says is a hash of its fields, or the dataset's own (co_dataset_vt.fingerprints), which for lines of JSON is that of
 * their text and costs no more than passing over the file. */
#ifndef CORE_DATA_SUBSET_H
#define CORE_DATA_SUBSET_H
#include "core/data/reader.h"

/* [any] The fingerprints of records [first, first + n) as co_dataset_vt.fingerprints gives them, from the fields: 0 for one that
 * cannot be read. For datasets that have none of their own. */
int subset_fingerprints(const co_dataset_vt *dataset, void *self, int64_t first, int64_t n, uint64_t *out);
/* With all readers' threads. *out: ascending record indices, freed with mem_free. A record without a
 * fingerprint counts to the training part; one that is broken is reported by the part it is in. */
int subset_build(reader *readers, int32_t n_readers, int64_t n_records, double split, int held_out, int64_t **out, int64_t *n_out);
/* What `part` of n_records leaves, without reading. */
int subset_rest(const int64_t *part, int64_t n_part, int64_t n_records, int64_t **out, int64_t *n_out);
#endif
