#include "merges.h"
#include <string.h>

int bpe_merges_open(const co_host *h, bpe_merges *m, uint32_t n)
{
    uint64_t slots = 16;
    *m = (bpe_merges){.host = h, .shift = 60};
    for (; slots < (uint64_t)n + n / 2 + 8; slots *= 2) m->shift--;
    m->mask = slots - 1;
    m->keys = h->alloc(h, slots * sizeof *m->keys, 64);
    m->ranks = h->alloc(h, slots * sizeof *m->ranks, 64);
    m->made = h->alloc(h, ((size_t)n + 1) * sizeof *m->made, 64);
    m->joint_mask = 63;
    m->joints = h->alloc(h, 64 * sizeof *m->joints, 64);
    if (!m->keys || !m->ranks || !m->made || !m->joints) {
        bpe_merges_close(m);
        return CO_E_NOMEM;
    }
    memset(m->keys, 0xFF, slots * sizeof *m->keys);
    return CO_OK;
}

void bpe_merges_close(bpe_merges *m)
{
    if (!m->host) return;
    m->host->free(m->host, m->keys);
    m->host->free(m->host, m->ranks);
    m->host->free(m->host, m->made);
    m->host->free(m->host, m->joints);
    *m = (bpe_merges){0};
}

void bpe_merges_add(bpe_merges *m, uint32_t left, uint32_t right, uint32_t made)
{
    const uint64_t key = (uint64_t)left << 32 | right;
    uint64_t i = bpe_spread(key) >> m->shift;
    while (m->keys[i] != key && m->keys[i] != UINT64_MAX) i = (i + 1) & m->mask;
    m->keys[i] = key;
    m->ranks[i] = (int32_t)m->n;
    m->made[m->n++] = made;
}

static void put_joint(uint64_t *slots, uint64_t mask, uint64_t key)
{
    uint64_t i = bpe_spread(key) >> 32 & mask;
    while (slots[i]) i = (i + 1) & mask;
    slots[i] = key;
}

int bpe_merges_add_joint(bpe_merges *m, uint32_t left_char, uint32_t right_char)
{
    if (bpe_joined(m, left_char, right_char)) return CO_OK;
    if (left_char < 128 && right_char < 128) {
        m->ascii[left_char][right_char >> 6] |= (uint64_t)1 << (right_char & 63);
        return CO_OK;
    }
    if (2 * (uint64_t)++m->n_joints > m->joint_mask) {
        const uint64_t size = 2 * (m->joint_mask + 1);
        uint64_t *grown = m->host->alloc(m->host, size * sizeof *grown, 64);
        if (!grown) return CO_E_NOMEM;
        for (uint64_t i = 0; i <= m->joint_mask; i++)
            if (m->joints[i]) put_joint(grown, size - 1, m->joints[i]);
        m->host->free(m->host, m->joints);
        m->joints = grown;
        m->joint_mask = size - 1;
    }
    put_joint(m->joints, m->joint_mask, (uint64_t)left_char << 32 | right_char);
    return CO_OK;
}

/* Whether p..end, a tail or a head of tokens, is continuation bytes only. */
static int is_tail(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    return 1;
}

int bpe_merges_add_byte_joint(bpe_merges *m, const uint8_t *left, size_t left_len, const uint8_t *right, size_t right_len)
{
    const uint8_t *l = left_len >= 3 ? left + left_len - 3 : left;
    const int whole_left = left_len >= 3, whole_right = right_len >= 3;
    /* between two characters of three bytes? */
    if (!bpe_is_three(right[0]) || !is_tail(right + 1, whole_right ? 2 : right_len - 1)) return CO_OK;
    if (whole_left ? !bpe_is_three(l[0]) || !is_tail(l + 1, 2) : !is_tail(l, left_len)) return CO_OK;
    if (whole_left && whole_right) return bpe_merges_add_joint(m, bpe_three(l), bpe_three(right));
    if (whole_left) {
        const uint32_t bit = bpe_bit_of(bpe_three(l));
        m->any_after[bit >> 6] |= (uint64_t)1 << (bit & 63);
    } else if (whole_right) {
        const uint32_t bit = bpe_bit_of(bpe_three(right));
        m->any_before[bit >> 6] |= (uint64_t)1 << (bit & 63);
    } else {
        m->any_lead |= 1u << (right[0] & 15);
    }
    return CO_OK;
}
