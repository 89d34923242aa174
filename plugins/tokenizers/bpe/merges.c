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
