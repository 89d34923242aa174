/* match_dir.c: where a model's directory keeps its chat template. */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/data/templates/match.h"
#include "core/params/json.h"
#include <string.h>

enum { MAX_CONFIG = 64 << 20, MAX_JINJA = 1 << 20 };

typedef struct found { char *text, *bos, *eos; size_t len; int many; } found; /* many: a list without "default" */

static int keep(const json_reader *r, char **out, size_t *len)
{
    mem_free(*out);
    *out = mem_alloc(r->str_len + 1, 1);
    if (!*out) return CO_E_NOMEM;
    memcpy(*out, r->str, r->str_len);
    if (len) *len = r->str_len;
    return CO_OK;
}

/* "…", or {"content": "…"}. */
static int read_token(json_reader *r, char **out)
{
    int t = json_next(r);
    if (t == JSON_STRING) return keep(r, out, NULL);
    if (t != JSON_OBJECT) return t < 0 ? t : json_skip(r, t);
    while ((t = json_next(r)) == JSON_KEY) {
        const int content = strcmp(r->str, "content") == 0;
        t = json_next(r);
        if (t < 0) return t;
        t = content && t == JSON_STRING ? keep(r, out, NULL) : json_skip(r, t);
        if (t < 0) return t;
    }
    return t < 0 ? t : CO_OK;
}

/* One {"name", "template"} of a list. */
static int read_named(json_reader *r, found *f)
{
    char *text = NULL;
    size_t len = 0;
    int is_default = 0, t;
    while ((t = json_next(r)) == JSON_KEY) {
        const int name = strcmp(r->str, "name") == 0, body = strcmp(r->str, "template") == 0;
        t = json_next(r);
        if (t == JSON_STRING && name) is_default = strcmp(r->str, "default") == 0;
        if (t >= 0) t = t == JSON_STRING && body ? keep(r, &text, &len) : json_skip(r, t);
        if (t < 0) break;
    }
    if (t >= 0 && is_default && text) {
        mem_free(f->text);
        f->text = text, f->len = len;
        return CO_OK;
    }
    mem_free(text);
    return t < 0 ? t : CO_OK;
}

static int read_template(json_reader *r, found *f)
{
    int t = json_next(r);
    if (t == JSON_STRING) return f->text ? CO_OK : keep(r, &f->text, &f->len);
    if (t == JSON_NULL) return CO_OK;
    if (t != JSON_ARRAY) return t < 0 ? t : json_fail(r, "chat_template: expected a string or a list");
    while ((t = json_next(r)) == JSON_OBJECT) {
        f->many = 1;
        t = read_named(r, f);
        if (t < 0) return t;
    }
    return t < 0 ? t : t == JSON_ARRAY_END ? CO_OK : json_fail(r, "chat_template: expected {\"name\", \"template\"}");
}

static int read_config(const char *path, found *f)
{
    char *text;
    size_t len;
    json_reader r;
    const int has_file = f->text != NULL;
    int t, rc = fs_read_all(path, &text, &len, MAX_CONFIG);
    if (rc) return rc;
    json_init(&r, path, text, len);
    t = json_next(&r);
    rc = t < 0 ? t : t == JSON_OBJECT ? CO_OK : json_fail(&r, "expected an object");
    while (rc == CO_OK && (t = json_next(&r)) == JSON_KEY) {
        if (!strcmp(r.str, "chat_template") && !has_file) rc = read_template(&r, f);
        else if (!strcmp(r.str, "bos_token")) rc = read_token(&r, &f->bos);
        else if (!strcmp(r.str, "eos_token")) rc = read_token(&r, &f->eos);
        else t = json_next(&r), rc = t < 0 ? t : json_skip(&r, t);
    }
    if (rc == CO_OK && t < 0) rc = t;
    json_close(&r);
    mem_free(text);
    return rc;
}

static int read_dir(const char *dir, found *f)
{
    static const char *const files[] = {"special_tokens_map.json", "tokenizer_config.json"}; /* the latter goes last: it counts */
    char *path = fs_join(dir, "chat_template.jinja");
    int rc = path ? CO_OK : CO_E_NOMEM;
    if (path && fs_is_file(path)) rc = fs_read_all(path, &f->text, &f->len, MAX_JINJA);
    mem_free(path);
    for (int i = 0; i < 2 && rc == CO_OK; i++) {
        int64_t size = 0;
        path = fs_join(dir, files[i]);
        if (!path) return CO_E_NOMEM;
        if (fs_is_file(path)) rc = fs_size(path, &size);
        if (rc == CO_OK && size) rc = read_config(path, f);
        mem_free(path);
    }
    return rc;
}

int chat_match_dir(const char *dir, chat_format *out, char **what)
{
    found f = {0};
    int rc = read_dir(dir, &f);
    if (rc == CO_OK && !f.text)
        rc = FAIL(CO_E_CONFIG, f.many ? "%s: tokenizer_config.json has several chat templates and none called default: name one of the known templates"
                                      : "%s: no chat template in chat_template.jinja or tokenizer_config.json: name a template (template = llama2, …)", dir);
    if (rc == CO_OK) rc = chat_match(f.text, f.len, f.bos, f.eos, out, what);
    mem_free(f.text);
    mem_free(f.bos);
    mem_free(f.eos);
    return rc == CO_OK || rc == CO_E_NOMEM ? rc : error_prefix(rc, "%s", dir);
}
