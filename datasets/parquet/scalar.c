#include "scalar.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t integer(const pq_node *n, pq_value v)
{
    int32_t a;
    int64_t b;
    if (n->type == PQ_INT32) return memcpy(&a, v.at, 4), a;
    return memcpy(&b, v.at, 8), b;
}

/* The shortest of at most `digits` digits that reads back as the same number. */
static void put_real(double x, int first, int digits, int single, char *out, pq_form *form)
{
    if (isnan(x) || isinf(x)) { /* JSON has no number for them */
        snprintf(out, PQ_SCALAR_MAX, "%s", isnan(x) ? "NaN" : x < 0 ? "-Infinity" : "Infinity");
        *form = PQ_FORM_TEXT;
        return;
    }
    for (int d = first; d <= digits; d++) {
        snprintf(out, PQ_SCALAR_MAX, "%.*g", d, x);
        if (single ? strtof(out, NULL) == (float)x : strtod(out, NULL) == x) return;
    }
}

static double half(const uint8_t *p)
{
    const unsigned v = p[0] | (unsigned)p[1] << 8, e = v >> 10 & 31, m = v & 1023;
    const double x = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, (int)e - 25) : ldexp(m, -24);
    return v >> 15 ? -x : x;
}

/* Big-endian two's complement of any length, `scale` digits behind the point. */
static int put_decimal(const uint8_t *p, uint32_t len, int scale, char *out, pq_fault *fault)
{
    uint8_t m[64], digits[160];
    const int negative = len && p[0] >> 7;
    int n = 0, carry = 1;
    char *o = out;
    if (len > sizeof m) return pq_fail(fault, CO_E_FORMAT, "expected a decimal of at most %zu bytes, found %u", sizeof m, len);
    for (uint32_t i = len; i-- > 0;) {
        const unsigned b = negative ? (unsigned)(uint8_t)~p[i] + (unsigned)carry : p[i];
        m[i] = (uint8_t)b;
        carry = b >> 8 != 0;
    }
    for (uint32_t first = 0; first < len;) {
        unsigned rest = 0;
        for (uint32_t i = first; i < len; i++) {
            rest = rest << 8 | m[i];
            m[i] = (uint8_t)(rest / 10);
            rest %= 10;
        }
        digits[n++] = (uint8_t)rest;
        while (first < len && !m[first]) first++;
    }
    while (n > 1 && !digits[n - 1]) n--;
    if (!n) digits[n++] = 0;
    if (negative) *o++ = '-';
    for (int i = n > scale ? n - 1 : scale; i >= 0; i--) {
        *o++ = (char)('0' + (i < n ? digits[i] : 0));
        if (i == scale && i) *o++ = '.';
    }
    *o = 0;
    return CO_OK;
}

static int64_t floor_div(int64_t a, int64_t b, int64_t *rest)
{
    int64_t q = a / b;
    *rest = a % b;
    if (*rest < 0) *rest += b, q--;
    return q;
}

/* Days since 1970 to a day of the Gregorian calendar, carried on to all years; year 0 is 1 BC. */
static int put_date(int64_t days, char *out, size_t cap)
{
    int64_t in_era, year;
    const int64_t era = floor_div(days + 719468, 146097, &in_era);
    const int64_t year_in_era = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    const int64_t day = in_era - (365 * year_in_era + year_in_era / 4 - year_in_era / 100), m = (5 * day + 2) / 153;
    const int month = (int)(m < 10 ? m + 3 : m - 9);
    year = year_in_era + era * 400 + (month <= 2);
    return snprintf(out, cap, "%s%04lld-%02d-%02d", year < 0 ? "-" : "", (long long)(year < 0 ? -year : year), month,
                    (int)(day - (153 * m + 2) / 5 + 1));
}

/* Nanoseconds of a day; no more digits than it takes. */
static int put_time(int64_t ns, char *out, size_t cap)
{
    const int64_t s = ns / 1000000000;
    int n = snprintf(out, cap, "%02lld:%02lld:%02lld.%09lld", (long long)(s / 3600), (long long)(s / 60 % 60), (long long)(s % 60),
                     (long long)(ns % 1000000000));
    while (out[n - 1] == '0') n--;
    if (out[n - 1] == '.') n--;
    out[n] = 0;
    return n;
}

static void put_moment(int64_t days, int64_t ns, int utc, char *out)
{
    int n = put_date(days, out, PQ_SCALAR_MAX);
    out[n++] = ' ';
    n += put_time(ns, out + n, PQ_SCALAR_MAX - (size_t)n);
    if (utc) snprintf(out + n, PQ_SCALAR_MAX - (size_t)n, "Z");
}

#define DAY_SECONDS 86400
static const int64_t per_second[] = { 1000, 1000000, 1000000000 };

static void put_timestamp(const pq_node *n, int64_t v, char *out)
{
    int64_t rest;
    const int64_t days = floor_div(v, DAY_SECONDS * per_second[n->unit], &rest);
    put_moment(days, rest * (1000000000 / per_second[n->unit]), n->utc, out);
}

static int put_clock(const pq_node *n, int64_t v, char *out, pq_fault *fault)
{
    if (v < 0 || v >= DAY_SECONDS * per_second[n->unit])
        return pq_fail(fault, CO_E_FORMAT, "expected a time within a day, found %lld", (long long)v);
    put_time(v * (1000000000 / per_second[n->unit]), out, PQ_SCALAR_MAX);
    return CO_OK;
}

/* Nanoseconds of the day and the Julian day, as Impala and Spark once wrote. Spark's microseconds since 1970 wrap around on the
 * way to a Julian day; so they do here on the way back. */
static void put_int96(const uint8_t *p, char *out)
{
    const uint64_t day_us = DAY_SECONDS * (uint64_t)per_second[PQ_MICROS];
    uint64_t us;
    int64_t ns, rest, below, days;
    memcpy(&ns, p, 8);
    us = (uint64_t)floor_div(ns, 1000, &below) + day_us * ((uint64_t)(int32_t)pq_le32(p + 8) - 2440588u);
    days = floor_div((int64_t)us, (int64_t)day_us, &rest);
    put_moment(days, rest * 1000 + below, 0, out);
}

static void put_uuid(const uint8_t *p, char *out)
{
    int n = 0;
    for (int i = 0; i < 16; i++)
        n += snprintf(out + n, PQ_SCALAR_MAX - (size_t)n, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", p[i]);
}

static int put_integer(const pq_node *n, pq_value v, char *out, pq_form *form, pq_fault *fault)
{
    const int64_t x = integer(n, v);
    uint8_t big[8];
    switch (n->means) {
    case PQ_DECIMAL:
        for (int i = 0; i < 8; i++) big[i] = (uint8_t)((uint64_t)x >> (56 - 8 * i));
        return put_decimal(big, 8, n->scale, out, fault);
    case PQ_UINT:
        snprintf(out, PQ_SCALAR_MAX, "%llu", n->type == PQ_INT32 ? (unsigned long long)(uint32_t)x : (unsigned long long)x);
        return CO_OK;
    case PQ_DATE:
        *form = PQ_FORM_TEXT;
        put_date(x, out, PQ_SCALAR_MAX);
        return CO_OK;
    case PQ_TIME: *form = PQ_FORM_TEXT; return put_clock(n, x, out, fault);
    case PQ_TIMESTAMP:
        *form = PQ_FORM_TEXT;
        put_timestamp(n, x, out);
        return CO_OK;
    default: snprintf(out, PQ_SCALAR_MAX, "%lld", (long long)x); return CO_OK;
    }
}

int pq_scalar(const pq_node *n, pq_value v, char out[PQ_SCALAR_MAX], pq_form *form, pq_fault *fault)
{
    float f;
    double d;
    *form = PQ_FORM_JSON;
    switch (n->type) {
    case PQ_BOOLEAN: snprintf(out, PQ_SCALAR_MAX, "%s", v.at[0] ? "true" : "false"); return CO_OK;
    case PQ_INT32:
    case PQ_INT64: return put_integer(n, v, out, form, fault);
    case PQ_INT96:
        *form = PQ_FORM_TEXT;
        put_int96(v.at, out);
        return CO_OK;
    case PQ_FLOAT:
        memcpy(&f, v.at, 4);
        put_real(f, 6, 9, 1, out, form);
        return CO_OK;
    case PQ_DOUBLE:
        memcpy(&d, v.at, 8);
        put_real(d, 15, 17, 0, out, form);
        return CO_OK;
    default: break;
    }
    switch (n->means) {
    case PQ_DECIMAL: return put_decimal(v.at, v.len, n->scale, out, fault);
    case PQ_UUID:
        *form = PQ_FORM_TEXT;
        put_uuid(v.at, out);
        return CO_OK;
    case PQ_FLOAT16: put_real(half(v.at), 5, 9, 1, out, form); return CO_OK;
    default: /* PQ_INTERVAL */
        snprintf(out, PQ_SCALAR_MAX, "{\"months\":%u,\"days\":%u,\"milliseconds\":%u}", pq_le32(v.at), pq_le32(v.at + 4), pq_le32(v.at + 8));
        return CO_OK;
    }
}
