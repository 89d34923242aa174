/* A model's directory: one file, or an index and its shards. */
#include <stdlib.h>
#include <string.h>
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/params/json.h"
#include "core/params/st_private.h"

#define INDEX_NAME "model.safetensors.index.json"
#define INDEX_MAX 256000000u

typedef struct entry { const char *tensor, *file; } entry;
typedef struct index_map {
    co_arena *strings;
    entry *e;
    size_t n, cap;
} index_map;

/* A shard is a file next to the index: no folders, so nothing outside can be opened. */
static int shard_name_ok(const char *s)
{
    return *s && strcmp(s, ".") != 0 && strcmp(s, "..") != 0 && !strchr(s, '/') && !strchr(s, '\\');
}

static int parse_weight_map(json_reader *r, index_map *m)
{
    int t = json_next(r);
    if (t < 0) return t;
    if (t != JSON_OBJECT) return json_fail(r, "\"weight_map\" must be an object from tensor names to files");
    for (;;) {
        t = json_next(r);
        if (t < 0) return t;
        if (t == JSON_OBJECT_END) return CO_OK;
        entry e = {.tensor = arena_strndup(m->strings, r->str, r->str_len)};
        t = json_next(r);
        if (t < 0) return t;
        if (t != JSON_STRING) return json_fail(r, "the file of tensor \"%.200s\" must be a string", e.tensor ? e.tensor : "");
        if (!shard_name_ok(r->str))
            return json_fail(r, "tensor \"%.200s\": \"%.200s\" is not the name of a file in this folder",
                             e.tensor ? e.tensor : "", r->str);
        e.file = arena_strndup(m->strings, r->str, r->str_len);
        if (!e.tensor || !e.file) return CO_E_NOMEM;
        if (m->n == m->cap) {
            size_t cap = m->cap ? 2 * m->cap : 256;
            entry *grown = mem_grow(m->e, m->cap, cap, sizeof *grown);
            if (!grown) return CO_E_NOMEM;
            m->e = grown;
            m->cap = cap;
        }
        m->e[m->n++] = e;
    }
}

static int parse_index(json_reader *r, index_map *m)
{
    int seen = 0, t = json_next(r);
    if (t < 0) return t;
    if (t != JSON_OBJECT) return json_fail(r, "an object with \"weight_map\" is expected");
    for (;;) {
        t = json_next(r);
        if (t < 0) return t;
        if (t == JSON_OBJECT_END) break;
        int rc;
        if (strcmp(r->str, "weight_map") == 0) {
            if (seen++) return json_fail(r, "\"weight_map\" is given twice");
            rc = parse_weight_map(r, m);
        } else {
            t = json_next(r);
            rc = t < 0 ? t : json_skip(r, t);
        }
        if (rc) return rc;
    }
    t = json_next(r);
    if (t < 0) return t;
    if (!seen || m->n == 0) return FAIL(CO_E_FORMAT, "%s: \"weight_map\" is missing or empty", r->name);
    return CO_OK;
}

static int by_file_then_tensor(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int c = strcmp(x->file, y->file);
    return c ? c : strcmp(x->tensor, y->tensor);
}

static int open_shards(st_set *s, const char *dir, const char *index, const index_map *m, int (*add)(st_set *s, const char *path))
{
    for (size_t i = 0; i < m->n; i++) {
        if (i && strcmp(m->e[i].file, m->e[i - 1].file) == 0) {
            if (strcmp(m->e[i].tensor, m->e[i - 1].tensor) == 0)
                return FAIL(CO_E_FORMAT, "%s: tensor \"%.200s\" is listed twice", index, m->e[i].tensor);
            continue;
        }
        char *path = fs_join(dir, m->e[i].file);
        if (!path) return CO_E_NOMEM;
        int rc = fs_is_file(path)
                     ? add(s, path)
                     : FAIL(CO_E_FORMAT, "%s: missing, although %s names it for tensor \"%.200s\"; is the download complete?",
                            path, index, m->e[i].tensor);
        mem_free(path);
        if (rc) return rc;
    }
    return st_set_finish(s);
}

/* Each listed tensor must be in the shard the index says. */
static int check_places(const st_set *s, const char *index, const index_map *m)
{
    for (size_t i = 0; i < m->n; i++) {
        const st_tensor *t = st_find(s, m->e[i].tensor);
        if (!t)
            return FAIL(CO_E_FORMAT, "%s: tensor \"%.200s\" should be in %.200s and is in no shard", index,
                        m->e[i].tensor, m->e[i].file);
        if (strcmp(fs_basename(t->file), m->e[i].file) != 0)
            return FAIL(CO_E_FORMAT, "%s: tensor \"%.200s\" should be in %.200s and is in %s", index, m->e[i].tensor,
                        m->e[i].file, fs_basename(t->file));
    }
    if (s->n > m->n)
        log_line(CO_LOG_WARN, "params", "%s: the shards hold %zu tensors that it does not list", index, s->n - m->n);
    return CO_OK;
}

int st_open_index(const char *dir, const char *path, int (*add)(st_set *s, const char *path), st_set **out)
{
    char *text = NULL;
    size_t len = 0;
    index_map m = {0};
    json_reader r;
    st_set *s = NULL;
    int rc = fs_read_all(path, &text, &len, INDEX_MAX);
    if (rc) return rc;
    json_init(&r, path, text, len);
    m.strings = arena_new(65536);
    s = st_set_new();
    rc = CO_E_NOMEM;
    if (!m.strings || !s) goto done;
    rc = parse_index(&r, &m);
    if (rc) goto done;
    qsort(m.e, m.n, sizeof *m.e, by_file_then_tensor);
    rc = open_shards(s, dir, path, &m, add);
    if (rc) goto done;
    rc = check_places(s, path, &m);
    if (rc) goto done;
    *out = s;
    s = NULL;
done:
    st_close(s);
    arena_free(m.strings);
    mem_free(m.e);
    json_close(&r);
    mem_free(text);
    return rc;
}

static int has_file(const char *dir, const char *name)
{
    char *path = fs_join(dir, name);
    int yes = path && fs_is_file(path);
    mem_free(path);
    return yes;
}

static int fail_no_weights(const char *dir)
{
    if (!fs_is_dir(dir)) return FAIL(CO_E_FORMAT, "%s: no such folder; a Hugging Face model directory is expected", dir);
    if (has_file(dir, "pytorch_model.bin") || has_file(dir, "pytorch_model.bin.index.json"))
        return FAIL(CO_E_FORMAT,
                    "%s: holds pytorch_model.bin only, which is a Python program in disguise and is not read here; `coati-convert %s NEW` makes "
                    "a directory with safetensors of it, without running it", dir, dir);
    return FAIL(CO_E_FORMAT, "%s: neither model.safetensors nor " INDEX_NAME " is there", dir);
}

int st_open_dir(const char *dir, st_set **out)
{
    char *single = fs_join(dir, "model.safetensors"), *index = fs_join(dir, INDEX_NAME);
    int rc = CO_E_NOMEM;
    if (!single || !index) goto done;
    if (fs_is_file(single)) rc = st_open_file(single, out);
    else if (fs_is_file(index)) rc = st_open_index(dir, index, st_set_add, out);
    else rc = fail_no_weights(dir);
done:
    mem_free(single);
    mem_free(index);
    return rc;
}
