/* check.c: is an option table what it claims to be? Asked of every plugin before its rows are used. */
#include "core/base/error.h"
#include "core/config/config_impl.h"
#include <string.h>

#define ROWS_MAX 256 /* more than any plugin needs: a table that lacks its end */

/* Bytes of the member a row fills; 0: no such type. */
static size_t member_size(uint32_t type)
{
    switch (type) {
    case CO_OPT_BOOL: case CO_OPT_ENUM: return sizeof(int32_t);
    case CO_OPT_INT: case CO_OPT_BYTES: return sizeof(int64_t);
    case CO_OPT_FLOAT: return sizeof(double);
    case CO_OPT_STR: case CO_OPT_PATH: return sizeof(char *);
    default: return 0;
    }
}

static int check_row(const co_opt *o, size_t opts_size, const char *section)
{
    const size_t size = member_size(o->type);
    union { int64_t i; double d; const char *s; } scratch;
    co_opt here = *o;
    here.offset = 0;
    if (strspn(o->key, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(o->key) || !o->key[0])
        return FAIL(CO_E_ABI, "option \"%.60s\": a key holds lower-case letters, digits and _ only", o->key);
    if (!size) return FAIL(CO_E_ABI, "option \"%s\": its type %u does not exist", o->key, o->type);
    if (o->offset % size || o->offset > opts_size || opts_size - o->offset < size)
        return FAIL(CO_E_ABI, "option \"%s\": %zu bytes at offset %u do not fit an options struct of %zu", o->key, size, o->offset, opts_size);
    if (o->type == CO_OPT_ENUM && (!o->names || !o->names[0])) return FAIL(CO_E_ABI, "option \"%s\": names none of its values", o->key);
    if (!(o->min <= o->max)) return FAIL(CO_E_ABI, "option \"%s\": its range is %g to %g", o->key, o->min, o->max);
    if ((o->flags & CO_OPT_REQUIRED) || o->type == CO_OPT_STR || o->type == CO_OPT_PATH) return CO_OK;
    return option_parse(NULL, &here, section, o->def ? o->def : "", NULL, &scratch);
}

int config_check_table(const co_opt *table, size_t stride, size_t opts_size, const char *section)
{
    for (size_t i = 0; option_at(table, stride, i)->key; i++) {
        const co_opt *o = option_at(table, stride, i);
        if (i == ROWS_MAX) return FAIL(CO_E_ABI, "over %d options: does the table lack CO_OPT_END?", ROWS_MAX);
        int r = check_row(o, opts_size, section);
        if (r) return r;
        for (size_t k = 0; k < i; k++)
            if (strcmp(option_at(table, stride, k)->key, o->key) == 0) return FAIL(CO_E_ABI, "option \"%s\" is there twice", o->key);
    }
    return CO_OK;
}
