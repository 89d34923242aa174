#include "thrift.h"

static uint64_t fail(pq_thrift *t, const char *what)
{
    if (!t->bad) t->bad = what;
    t->end = t->at;
    return 0;
}

static size_t left(const pq_thrift *t) { return (size_t)(t->end - t->at); }

static uint8_t byte(pq_thrift *t)
{
    if (!left(t)) return (uint8_t)fail(t, "it breaks off");
    return *t->at++;
}

uint64_t pq_thrift_varint(pq_thrift *t)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t b = byte(t);
        if (shift == 63 && b > 1) break;
        v |= (uint64_t)(b & 0x7F) << shift;
        if (!(b & 0x80)) return v;
    }
    return fail(t, "a number of more than 64 bits");
}

static int64_t zigzag(pq_thrift *t)
{
    const uint64_t v = pq_thrift_varint(t);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

int pq_thrift_next(pq_thrift *t, pq_tfield *f)
{
    const uint8_t head = byte(t);
    int64_t id;
    if (t->bad || !head) return 0;
    f->type = head & 15;
    id = head >> 4 ? f->id + (head >> 4) : zigzag(t);
    if (t->bad) return 0;
    if (f->type == 0 || f->type > PQ_T_UUID) return (int)fail(t, "a field of unknown type");
    if (id < 0 || id > INT16_MAX) return (int)fail(t, "a field id out of range");
    f->id = (int32_t)id;
    return 1;
}

static void skip_bytes(pq_thrift *t, uint64_t n)
{
    if (n > left(t)) fail(t, "a length beyond its end");
    else t->at += n;
}

static uint32_t list_head(pq_thrift *t, int *element)
{
    const uint8_t head = byte(t);
    uint64_t n = head >> 4;
    *element = head & 15;
    if (n == 15) n = pq_thrift_varint(t);
    if (t->bad) return 0;
    if (n > left(t) || n > UINT32_MAX) return (uint32_t)fail(t, "a list longer than the bytes left");
    return (uint32_t)n;
}

static void skip(pq_thrift *t, int type, int in_list, int depth)
{
    pq_tfield f = { 0 };
    int element, value;
    uint64_t n;
    if (depth > PQ_THRIFT_DEPTH) {
        fail(t, "structures nested too deeply");
        return;
    }
    switch (type) {
    case PQ_T_TRUE:
    case PQ_T_FALSE:
        if (in_list) byte(t); /* in a struct the type is the value */
        break;
    case PQ_T_BYTE: byte(t); break;
    case PQ_T_I16:
    case PQ_T_I32:
    case PQ_T_I64: pq_thrift_varint(t); break;
    case PQ_T_DOUBLE: skip_bytes(t, 8); break;
    case PQ_T_UUID: skip_bytes(t, 16); break;
    case PQ_T_BINARY: skip_bytes(t, pq_thrift_varint(t)); break;
    case PQ_T_LIST:
    case PQ_T_SET:
        for (n = list_head(t, &element); n && !t->bad; n--) skip(t, element, 1, depth + 1);
        break;
    case PQ_T_MAP:
        n = pq_thrift_varint(t);
        if (!n || t->bad) break;
        if (n > left(t)) {
            fail(t, "a map longer than the bytes left");
            break;
        }
        value = byte(t);
        for (; n && !t->bad; n--) {
            skip(t, value >> 4, 1, depth + 1);
            skip(t, value & 15, 1, depth + 1);
        }
        break;
    case PQ_T_STRUCT:
        while (pq_thrift_next(t, &f)) skip(t, f.type, 0, depth + 1);
        break;
    default: fail(t, "a value of unknown type");
    }
}

void pq_thrift_skip(pq_thrift *t, int type) { skip(t, type, 0, 0); }

int pq_thrift_bool(pq_thrift *t, const pq_tfield *f)
{
    if (f->type != PQ_T_TRUE && f->type != PQ_T_FALSE) return (int)fail(t, "something else where a yes or no belongs");
    return f->type == PQ_T_TRUE;
}

int64_t pq_thrift_i64(pq_thrift *t, const pq_tfield *f)
{
    if (f->type == PQ_T_BYTE) return (int8_t)byte(t);
    if (f->type < PQ_T_I16 || f->type > PQ_T_I64) return (int64_t)fail(t, "something else where a number belongs");
    return zigzag(t);
}

int32_t pq_thrift_i32(pq_thrift *t, const pq_tfield *f)
{
    const int64_t v = pq_thrift_i64(t, f);
    if (v < INT32_MIN || v > INT32_MAX) return (int32_t)fail(t, "a number of more than 32 bits");
    return (int32_t)v;
}

const uint8_t *pq_thrift_binary(pq_thrift *t, const pq_tfield *f, size_t *len)
{
    const uint8_t *p;
    uint64_t n;
    *len = 0;
    if (f->type != PQ_T_BINARY) {
        fail(t, "something else where text belongs");
        return t->at;
    }
    n = pq_thrift_varint(t);
    p = t->at;
    skip_bytes(t, n);
    if (!t->bad) *len = (size_t)n;
    return p;
}

uint32_t pq_thrift_list(pq_thrift *t, const pq_tfield *f, int element)
{
    int found;
    uint32_t n;
    if (f->type != PQ_T_LIST) return (uint32_t)fail(t, "something else where a list belongs");
    n = list_head(t, &found);
    if (n && found != element) return (uint32_t)fail(t, "a list of the wrong type");
    return n;
}

int pq_thrift_struct(pq_thrift *t, const pq_tfield *f)
{
    if (f->type == PQ_T_STRUCT) return 1;
    return (int)fail(t, "something else where a structure belongs");
}
