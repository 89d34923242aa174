/* blocks.h: texts as one run of tokens, cut into samples of equal length: what stage pretrain reads.
 *
 * Every text is BOS (if the tokenizer's files put one before texts), its ids, EOS; texts follow each other in the order of the
 * files, and block b is ids [b * len, (b + 1) * len) of that run, the last block what is left. A block is one sequence: attention and
 * positions go on from one text to the next within it, as in GPT-2's, LLaMA's and Chinese-LLaMA's training, and EOS says where a text
 * ends. So each block is full, and every token but a block's first is learnt.
 *
 * One pass over the data counts the ids (with all readers' threads), 24 bytes kept for each text. Texts of more than BLOCK_PIECE bytes are
 * encoded in pieces, cut behind a line break or before a space, so that a block costs what it is long, not what the text is. */
#ifndef CORE_DATA_BLOCKS_H
#define CORE_DATA_BLOCKS_H
#include "core/data/reader.h"

enum { BLOCK_PIECE = 1 << 12 };

typedef struct block_piece {
    int64_t record; /* of the dataset */
    int64_t first;  /* ids before it in the run */
    int64_t at;     /* bytes before it in the text */
} block_piece;

typedef struct blocks {
    block_piece *pieces; /* [n_pieces + 1] the last stands at the end of the run */
    int64_t n_pieces, n_blocks, n_ids, n_bad;
    int32_t len;
} blocks;

/* Of n_records records (subset[i], or i). Broken ones are passed over if the readers do so: n_bad, the first one's message in `bad`. The
 * error is that of the earliest record that failed. */
int blocks_scan(reader *readers, int32_t n_readers, const int64_t *subset, int64_t n_records, int32_t len, blocks *out, char *bad, size_t cap);
void blocks_free(blocks *b);
/* [loader] Block b as a sample. CO_E_FORMAT if a text is not what it was. */
int blocks_make(const blocks *b, const sample_maker *m, void *dataset_self, int64_t index, co_arena *a, sample *out);
#endif
