/* torch_zip.c: the members of an uncompressed zip archive (APPNOTE 6.3, 4.3). Every offset is checked against the file. */
#include <string.h>
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/params/torch_private.h"

enum { END = 22, END64 = 56, LOCATOR = 20, CENTRAL = 46, LOCAL = 30, MAX_COMMENT = 65535 };

typedef struct archive { const char *path; const uint8_t *p; size_t n; } archive;

static uint64_t number(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static int bad(const archive *z, size_t at, const char *what)
{
    return FAIL(CO_E_FORMAT, "%s: byte %zu: %s; is the file damaged or cut short?", z->path, at, what);
}

static int fits(const archive *z, uint64_t at, uint64_t len) { return at <= z->n && len <= z->n - at; }

/* Where the list of members is, and how many there are. */
static int find_directory(const archive *z, uint64_t *at, uint64_t *count)
{
    size_t end = z->n;
    for (size_t back = END; back <= z->n && back <= END + MAX_COMMENT && end == z->n; back++)
        if (memcmp(z->p + z->n - back, "PK\5\6", 4) == 0 && number(z->p + z->n - back + 20, 2) == back - END) end = z->n - back;
    if (end == z->n) return bad(z, z->n, "no zip archive ends here");
    *count = number(z->p + end + 10, 2);
    *at = number(z->p + end + 16, 4);
    if (end < LOCATOR || memcmp(z->p + end - LOCATOR, "PK\6\7", 4) != 0) return CO_OK;
    const uint64_t end64 = number(z->p + end - LOCATOR + 8, 8);
    if (!fits(z, end64, END64) || memcmp(z->p + end64, "PK\6\6", 4) != 0) return bad(z, end - LOCATOR, "points to no 64-bit record");
    *count = number(z->p + end64 + 32, 8);
    *at = number(z->p + end64 + 48, 8);
    return CO_OK;
}

/* Sizes and offset that do not fit 32 bits stand in the extra field 1, in this order, those only. */
static int wide(const archive *z, const uint8_t *extra, size_t len, uint64_t *value[3], size_t at)
{
    const uint8_t *field = NULL;
    size_t have = 0, used = 0;
    for (size_t i = 0; i + 4 <= len;) {
        const size_t size = number(extra + i + 2, 2);
        if (size > len - i - 4) return bad(z, at, "an extra field reaches beyond its place");
        if (number(extra + i, 2) == 1) field = extra + i + 4, have = size;
        i += 4 + size;
    }
    for (int i = 0; i < 3; i++) {
        if (*value[i] != UINT32_MAX) continue;
        if (!field || have - used < 8) return bad(z, at, "a 64-bit size is missing");
        *value[i] = number(field + used, 8);
        used += 8;
    }
    return CO_OK;
}

static int read_member(const archive *z, uint64_t *at, zip_member *m)
{
    if (!fits(z, *at, CENTRAL) || memcmp(z->p + *at, "PK\1\2", 4) != 0) return bad(z, *at, "an entry of the archive's directory should be here");
    const uint8_t *e = z->p + *at;
    const uint64_t name = number(e + 28, 2), extra = number(e + 30, 2), comment = number(e + 32, 2), method = number(e + 10, 2);
    uint64_t size = number(e + 24, 4), packed = number(e + 20, 4), local = number(e + 42, 4);
    uint64_t *values[3] = {&size, &packed, &local};
    if (!fits(z, *at + CENTRAL, name + extra + comment)) return bad(z, *at, "an entry reaches beyond the end");
    int r = wide(z, e + CENTRAL + name, extra, values, *at);
    if (r) return r;
    if (method != 0 || packed != size)
        return FAIL(CO_E_FORMAT, "%s: member \"%.*s\" is compressed, which torch.save does not do", z->path, (int)name, (const char *)e + CENTRAL);
    if (!fits(z, local, LOCAL) || memcmp(z->p + local, "PK\3\4", 4) != 0) return bad(z, *at, "an entry points to no member");
    const uint64_t data = local + LOCAL + number(z->p + local + 26, 2) + number(z->p + local + 28, 2);
    if (!fits(z, data, size)) return bad(z, *at, "a member reaches beyond the end");
    *m = (zip_member){(const char *)e + CENTRAL, name, z->p + data, size};
    *at += CENTRAL + name + extra + comment;
    return CO_OK;
}

int zip_members(const char *path, const uint8_t *p, size_t n, co_arena *a, zip_member **out, size_t *count)
{
    const archive z = {path, p, n};
    uint64_t at = 0, entries = 0;
    int r = find_directory(&z, &at, &entries);
    if (r == CO_OK && entries > n / CENTRAL) r = bad(&z, n, "more members are announced than have room");
    if (r) return r;
    *out = arena_push(a, (entries + 1) * sizeof **out, 16);
    if (!*out) return CO_E_NOMEM;
    for (uint64_t i = 0; i < entries && r == CO_OK; i++) r = read_member(&z, &at, &(*out)[i]);
    *count = entries;
    return r;
}
