/* cJSON builds the tree. It is lenient where we are not (text after the value, repeated keys, depth, NUL inside
 * strings, integers cut to int), so the text goes through our strict reader first, and numbers are taken from
 * the double and checked to be exact. */
#include "core/params/hf_config.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/params/json.h"

#define CONFIG_MAX (16u << 20) /* bytes */

struct hf_config {
    char *path;
    char *text;
    cJSON *root;
    co_meta meta;
};

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

/* Objects with a key given twice are refused: readers differ in which of the two they take. */
static int check_keys(const char *path, const cJSON *node)
{
    size_t n = 0;
    int rc = CO_OK;
    const cJSON *child;
    for (child = node->child; child; child = child->next) n++;
    if (n == 0) return CO_OK;
    for (child = node->child; child && rc == CO_OK; child = child->next) rc = check_keys(path, child);
    if (rc || !cJSON_IsObject(node)) return rc;
    const cJSON **sorted = mem_calloc(n, sizeof *sorted);
    if (!sorted) return CO_E_NOMEM;
    n = 0;
    for (child = node->child; child; child = child->next) sorted[n++] = child;
    qsort(sorted, n, sizeof *sorted, by_key);
    for (size_t i = 1; i < n && rc == CO_OK; i++)
        if (strcmp(sorted[i]->string, sorted[i - 1]->string) == 0)
            rc = FAIL(CO_E_FORMAT, "%s: key \"%.200s\" is given twice", path, sorted[i]->string);
    mem_free(sorted);
    return rc;
}

static const cJSON *element(const cJSON *list, const char *index, size_t n)
{
    const cJSON *child = list->child;
    size_t left = 0;
    if (n == 0 || n > 9 || strspn(index, "0123456789") < n) return NULL;
    for (size_t i = 0; i < n; i++) left = 10 * left + (size_t)(index[i] - '0');
    while (child && left--) child = child->next;
    return child;
}

/* `path` "a.b": the member b of the member a; "a.3": the fourth of the list a. NULL if absent. */
static const cJSON *find_any(const cJSON *node, const char *path)
{
    while (node && *path) {
        size_t n = strcspn(path, ".");
        const cJSON *child = cJSON_IsObject(node) ? node->child : NULL;
        if (cJSON_IsArray(node)) child = element(node, path, n);
        else
            while (child && (strncmp(child->string, path, n) != 0 || child->string[n])) child = child->next;
        node = child;
        path += path[n] ? n + 1 : n;
    }
    return node;
}
/* The same; NULL also for null. */
static const cJSON *find(const cJSON *node, const char *path)
{
    const cJSON *v = find_any(node, path);
    return v && !cJSON_IsNull(v) ? v : NULL;
}

static int absent(const hf_config *c, const char *path)
{
    return FAIL(CO_E_INVALID, "%s: \"%s\" is missing", c->path, path);
}

static int meta_i64(const co_meta *m, const char *path, int64_t *out)
{
    const hf_config *c = m->impl;
    const cJSON *v = find(c->root, path);
    if (!v) return absent(c, path);
    if (cJSON_IsBool(v)) {
        *out = cJSON_IsTrue(v) ? 1 : 0;
        return CO_OK;
    }
    if (!cJSON_IsNumber(v)) return FAIL(CO_E_FORMAT, "%s: \"%s\" must be an integer", c->path, path);
    double d = v->valuedouble;
    if (!(fabs(d) <= 0x1p53) || d != floor(d))
        return FAIL(CO_E_FORMAT, "%s: \"%s\" must be an integer of at most 2^53, not %.17g", c->path, path, d);
    *out = (int64_t)d;
    return CO_OK;
}

static int meta_f64(const co_meta *m, const char *path, double *out)
{
    const hf_config *c = m->impl;
    const cJSON *v = find(c->root, path);
    if (!v) return absent(c, path);
    if (cJSON_IsBool(v)) {
        *out = cJSON_IsTrue(v) ? 1 : 0;
        return CO_OK;
    }
    if (!cJSON_IsNumber(v) || !isfinite(v->valuedouble))
        return FAIL(CO_E_FORMAT, "%s: \"%s\" must be a finite number", c->path, path);
    *out = v->valuedouble;
    return CO_OK;
}

static int meta_str(const co_meta *m, const char *path, const char **out)
{
    const hf_config *c = m->impl;
    const cJSON *v = find(c->root, path);
    if (!v) return absent(c, path);
    if (!cJSON_IsString(v)) return FAIL(CO_E_FORMAT, "%s: \"%s\" must be a string", c->path, path);
    *out = v->valuestring;
    return CO_OK;
}

static int meta_has(const co_meta *m, const char *path)
{
    const hf_config *c = m->impl;
    return find_any(c->root, path) != NULL;
}

int hf_config_parse(const char *json, size_t len, const char *name, hf_config **out)
{
    int rc = json_check(name, json, len);
    if (rc) return rc;
    hf_config *c = mem_calloc(1, sizeof *c);
    if (!c) return CO_E_NOMEM;
    rc = CO_E_NOMEM;
    c->path = mem_strdup(name);
    c->text = mem_alloc(len + 1, 1);
    if (!c->path || !c->text) goto fail;
    memcpy(c->text, json, len);
    c->root = cJSON_ParseWithLength(json, len);
    if (!c->root) {
        /* the text is sound, so it is memory, or the 63 characters a number has in some versions of cJSON */
        rc = FAIL(CO_E_FORMAT, "%s: cJSON cannot hold it: a very long number, or no memory for %zu bytes", name, len);
        goto fail;
    }
    if (!cJSON_IsObject(c->root)) {
        rc = FAIL(CO_E_FORMAT, "%s: a JSON object is expected", name);
        goto fail;
    }
    rc = check_keys(name, c->root);
    if (rc) goto fail;
    c->meta = (co_meta){sizeof c->meta, c, meta_i64, meta_f64, meta_str, meta_has};
    *out = c;
    return CO_OK;
fail:
    hf_config_close(c);
    return rc;
}

int hf_config_open(const char *dir, hf_config **out)
{
    char *text = NULL, *path = fs_join(dir, "config.json");
    size_t len;
    if (!path) return CO_E_NOMEM;
    int rc = fs_is_file(path) ? fs_read_all(path, &text, &len, CONFIG_MAX)
                              : FAIL(CO_E_FORMAT, "%s: not found; a Hugging Face model directory is expected", path);
    if (rc == CO_OK) rc = hf_config_parse(text, len, path, out);
    mem_free(text);
    mem_free(path);
    return rc;
}

void hf_config_close(hf_config *c)
{
    if (!c) return;
    cJSON_Delete(c->root);
    mem_free(c->text);
    mem_free(c->path);
    mem_free(c);
}

const co_meta *hf_config_meta(const hf_config *c) { return &c->meta; }
const char *hf_config_path(const hf_config *c) { return c->path; }
char *hf_config_text(const hf_config *c) { return c->text; }

const char *hf_config_model_type(const hf_config *c)
{
    const cJSON *v = find(c->root, "model_type");
    return v && cJSON_IsString(v) ? v->valuestring : "";
}
