/* hash.c: four lanes of 64×64-bit products folded to 64 bits (as wyhash and rapidhash do it). */
#include "hash.h"

#include <string.h>

static uint64_t mix(uint64_t a, uint64_t b)
{
    const unsigned __int128 p = (unsigned __int128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static uint64_t load(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
    static const uint64_t k[4] = { 0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu, 0x8ebc6af09c88c6e3u, 0x589965cc75374cc3u };
    const uint8_t *p = data;
    uint64_t h[4] = { seed ^ k[0], seed ^ k[1], seed ^ k[2], seed ^ k[3] };
    uint8_t tail[64] = { 0 };
    size_t left = len;
    for (; left >= 64; p += 64, left -= 64)
        for (int i = 0; i < 4; i++) h[i] = mix(load(p + 16 * i) ^ k[i], load(p + 16 * i + 8) ^ h[i]);
    if (left) memcpy(tail, p, left);
    for (int i = 0; i < 4; i++) h[i] = mix(load(tail + 16 * i) ^ k[i], load(tail + 16 * i + 8) ^ h[i]);
    return mix(mix(h[0] ^ k[1], h[1] ^ len) ^ k[2], mix(h[2] ^ k[3], h[3] ^ k[0]));
}
