/* merges.h: which two neighbours become one, how early (the lower rank first), and where no two ever do. */
#ifndef TOKENIZERS_BPE_MERGES_H
#define TOKENIZERS_BPE_MERGES_H
#include <coati/host.h>

#define BPE_NO_RANK INT32_MAX

/* Open addressing by (left, right). Keys lie apart from ranks: most questions are answered "no" by a key alone. */
typedef struct bpe_merges {
    const co_host *host;
    uint64_t *keys; /* left << 32 | right; UINT64_MAX: free */
    int32_t *ranks;
    uint32_t *made; /* by rank: the id that the pair becomes */
    uint64_t mask;
    int shift;
    uint32_t n;
    /* The last character of a left part and the first of a right part, for each merge: between two characters that are
     * no such pair a text can be cut before merging, with the same result. Where symbols are bytes this is kept for
     * characters of three bytes (Chinese, Japanese, Korean: the words that are long), by those bytes; parts that end or
     * begin inside a character set bits for all that they may touch. */
    uint64_t *joints; /* left << 32 | right character; 0: free */
    uint64_t joint_mask;
    uint32_t n_joints;
    uint64_t ascii[128][2]; /* the same for two ASCII characters, a bit each */
    uint64_t any_before[64], any_after[64]; /* by a hash of the character behind, or before, the joint */
    uint32_t any_lead;                      /* by the low four bits of the lead byte behind the joint */
} bpe_merges;

int bpe_merges_open(const co_host *h, bpe_merges *m, uint32_t n);
void bpe_merges_close(bpe_merges *m);
/* The merge of the next rank; a pair that was there gets the later rank. */
void bpe_merges_add(bpe_merges *m, uint32_t left, uint32_t right, uint32_t made);
/* Notes that a merge can join these characters. */
int bpe_merges_add_joint(bpe_merges *m, uint32_t left_char, uint32_t right_char);
/* The same from the bytes of both parts of a merge. */
int bpe_merges_add_byte_joint(bpe_merges *m, const uint8_t *left, size_t left_len, const uint8_t *right, size_t right_len);

static inline uint64_t bpe_spread(uint64_t key) { return key * 0x9E3779B97F4A7C15u; }
static inline int32_t bpe_rank(const bpe_merges *m, uint32_t left, uint32_t right)
{
    const uint64_t key = (uint64_t)left << 32 | right;
    for (uint64_t i = bpe_spread(key) >> m->shift;; i = (i + 1) & m->mask) {
        if (m->keys[i] == key) return m->ranks[i];
        if (m->keys[i] == UINT64_MAX) return BPE_NO_RANK;
    }
}
static inline int bpe_joined(const bpe_merges *m, uint32_t left_char, uint32_t right_char)
{
    if (left_char < 128 && right_char < 128) return (int)(m->ascii[left_char][right_char >> 6] >> (right_char & 63) & 1);
    const uint64_t key = (uint64_t)left_char << 32 | right_char;
    for (uint64_t i = bpe_spread(key) >> 32 & m->joint_mask;; i = (i + 1) & m->joint_mask) {
        if (m->joints[i] == key) return 1;
        if (m->joints[i] == 0) return 0;
    }
}
static inline uint32_t bpe_three(const uint8_t *p) { return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2]; }
static inline int bpe_is_three(uint8_t lead) { return (lead & 0xF0) == 0xE0; }
static inline uint32_t bpe_bit_of(uint32_t c) { return c * 0x9E3779B9u >> 20; } /* of 4096 */
/* Whether some merge may join the two characters of three bytes each on both sides of p. */
static inline int bpe_bytes_joined(const bpe_merges *m, const uint8_t *p)
{
    const uint32_t left = bpe_three(p - 3), right = bpe_three(p), l = bpe_bit_of(left), r = bpe_bit_of(right);
    if (m->any_lead >> (*p & 15) & 1) return 1;
    if ((m->any_after[l >> 6] >> (l & 63) | m->any_before[r >> 6] >> (r & 63)) & 1) return 1;
    return bpe_joined(m, left, right);
}
#endif
