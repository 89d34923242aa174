#include "core/data/templates/white.h"
#include <string.h>

/* Bytes of the white space character at p, 0: none. */
static size_t white_at(const unsigned char *p, size_t n)
{
    if (n && ((p[0] >= 9 && p[0] <= 13) || (p[0] >= 0x1C && p[0] <= 0x20))) return 1;
    if (n > 1 && p[0] == 0xC2 && (p[1] == 0x85 || p[1] == 0xA0)) return 2;
    if (n < 3) return 0;
    if (p[0] == 0xE1 && p[1] == 0x9A && p[2] == 0x80) return 3;
    if (p[0] == 0xE2 && p[1] == 0x80 && ((p[2] >= 0x80 && p[2] <= 0x8A) || p[2] == 0xA8 || p[2] == 0xA9 || p[2] == 0xAF)) return 3;
    if (p[0] == 0xE2 && p[1] == 0x81 && p[2] == 0x9F) return 3;
    return p[0] == 0xE3 && p[1] == 0x80 && p[2] == 0x80 ? 3 : 0;
}

static size_t white_before(const unsigned char *p, size_t n)
{
    for (size_t k = 1; k <= 3 && k <= n; k++)
        if ((p[n - k] & 0xC0) != 0x80) return white_at(p + n - k, k) == k ? k : 0;
    return 0;
}

void white_trim(const char **text, size_t *len, int how)
{
    const unsigned char *p = (const unsigned char *)*text;
    size_t n = *len, k;
    while ((how & TRIM_LEFT) && (k = white_at(p, n)) > 0) p += k, n -= k;
    while ((how & TRIM_RIGHT) && (k = white_before(p, n)) > 0) n -= k;
    *text = (const char *)p;
    *len = n;
}
