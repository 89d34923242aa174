/* config.h: reading config.json in a model's open(). Inline and no part of the ABI: a plugin may do without it.
 *
 *   co_config k = co_config_of(host, meta);
 *   m->d     = co_config_need(&k, "hidden_size|n_embed", 1, 1 << 20);
 *   m->eps   = co_config_real(&k, "layer_norm_epsilon", 1e-5, 1e-12, 1);
 *   m->gelu  = co_config_name(&k, "activation_function", "gelu_new|gelu", "gelu_new");
 *   co_config_only(&k, "add_cross_attention", 0, "a decoder alone is offered");
 *   return k.status;
 *
 * Errors are sticky: after the first, whose message names key, value and what is possible, all calls give their
 * fallback. "a|b" tries key a, then b. A key that is null counts as absent. */
#ifndef COATI_CONFIG_H
#define COATI_CONFIG_H
#include "host.h"
#include "model.h"
#include <string.h>

typedef struct co_config {
    const co_host *host;
    const co_meta *meta;
    int status;
} co_config;

static inline co_config co_config_of(const co_host *h, const co_meta *m)
{
    co_config k;
    k.host = h;
    k.meta = m;
    k.status = CO_OK;
    return k;
}

/* Takes the next of `names`, "a|b", to `key`; NULL at the end. */
static inline const char *co_config_next(const char *names, char key[64])
{
    const size_t n = strcspn(names, "|");
    if (!*names) return NULL;
    memset(key, 0, 64);
    memcpy(key, names, n < 63 ? n : 63);
    return names + n + (names[n] == '|');
}

/* The first of `names` in the file as a number; its name to `key`. CO_E_INVALID if there is none of them. */
static inline int co_config_number(const co_config *k, const char *names, char key[64], double *out)
{
    int r = CO_E_INVALID;
    for (const char *p = co_config_next(names, key); p && r == CO_E_INVALID;) {
        r = k->meta->f64(k->meta, key, out);
        if (r == CO_E_INVALID) p = co_config_next(p, key);
    }
    return r;
}

static inline double co_config_real(co_config *k, const char *names, double fallback, double least, double most)
{
    char key[64];
    double v = fallback;
    if (k->status) return fallback;
    const int r = co_config_number(k, names, key, &v);
    if (r == CO_E_FORMAT) k->status = CO_FAIL(k->host, r, "config.json: %s is not a number", key);
    else if (r == CO_OK && !(v >= least && v <= most))
        k->status = CO_FAIL(k->host, CO_E_FORMAT, "config.json: %s = %.9g; from %.9g to %.9g is possible", key, v, least, most);
    return k->status ? fallback : v;
}

/* A number that has to be there. */
static inline double co_config_need_real(co_config *k, const char *names, double least, double most)
{
    char key[64];
    double v;
    if (!k->status && co_config_number(k, names, key, &v) == CO_E_INVALID)
        k->status = CO_FAIL(k->host, CO_E_FORMAT, "config.json lacks \"%.*s\"", (int)strcspn(names, "|"), names);
    return co_config_real(k, names, least, least, most);
}

static inline int64_t co_config_int(co_config *k, const char *names, int64_t fallback, int64_t least, int64_t most)
{
    char key[64];
    double v = 0;
    if (k->status) return fallback;
    const int r = co_config_number(k, names, key, &v);
    if (r == CO_E_INVALID) return fallback;
    if (r || v < -9e15 || v > 9e15 || (double)(int64_t)v != v)
        k->status = CO_FAIL(k->host, CO_E_FORMAT, "config.json: %s is not a whole number", key);
    else if ((int64_t)v < least || (int64_t)v > most)
        k->status = CO_FAIL(k->host, CO_E_FORMAT, "config.json: %s = %lld is out of range; from %lld to %lld is possible", key,
                            (long long)v, (long long)least, (long long)most);
    return k->status ? fallback : (int64_t)v;
}

/* A whole number that has to be there. */
static inline int64_t co_config_need(co_config *k, const char *names, int64_t least, int64_t most)
{
    const int64_t v = co_config_int(k, names, INT64_MIN, least, most);
    if (v == INT64_MIN && !k->status)
        k->status = CO_FAIL(k->host, CO_E_FORMAT, "config.json lacks \"%.*s\"", (int)strcspn(names, "|"), names);
    return k->status ? least : v;
}

/* Which of `choices`, "a|b|c", the file names, from 0. */
static inline int co_config_name(co_config *k, const char *names, const char *choices, const char *fallback)
{
    char key[64];
    const char *v = fallback;
    int r = CO_E_INVALID, i = 0;
    if (k->status) return 0;
    for (const char *p = co_config_next(names, key); p && r == CO_E_INVALID;) {
        r = k->meta->str(k->meta, key, &v);
        if (r == CO_E_INVALID) p = co_config_next(p, key);
    }
    if (r == CO_E_FORMAT) {
        k->status = CO_FAIL(k->host, r, "config.json: %s is not a text; possible: %s", key, choices);
        return 0;
    }
    for (const char *p = choices; *p; i++) {
        const size_t n = strcspn(p, "|");
        if (strlen(v) == n && strncmp(p, v, n) == 0) return i;
        p += n + (p[n] == '|');
    }
    k->status = CO_FAIL(k->host, CO_E_UNSUPPORTED, "config.json: %s = \"%s\" is not offered; possible: %s", key, v, choices);
    return 0;
}

/* Refuses a setting that changes results and is not computed here: anything but absent or `neutral`. */
static inline void co_config_only(co_config *k, const char *names, double neutral, const char *why)
{
    char key[64];
    double v = neutral;
    if (k->status) return;
    const int r = co_config_number(k, names, key, &v);
    if (r == CO_E_FORMAT || v != neutral)
        k->status = CO_FAIL(k->host, CO_E_UNSUPPORTED, "config.json: %s is set to something else than %.9g: %s", key, neutral, why);
}

/* Refuses a value that does not divide by another. */
static inline void co_config_divides(co_config *k, const char *name, int64_t value, const char *by_name, int64_t by)
{
    if (!k->status && (by < 1 || value % by))
        k->status = CO_FAIL(k->host, CO_E_FORMAT, "config.json: %s = %lld does not divide by %s = %lld", name, (long long)value, by_name,
                            (long long)by);
}
#endif
