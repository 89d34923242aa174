/* hash.h: a fast hash of 64 bits, to notice damage and change. No match for someone who means to deceive. */
#ifndef DATASETS_SOURCE_HASH_H
#define DATASETS_SOURCE_HASH_H
#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);
#endif
