/* ini_read.c: INI files through inih, with a reader in front of it that knows lines, their length, and which of
 * them continue the one above (inih calls the handler again for those and cannot be asked). */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/config/config_impl.h"
#include <ini.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 199
#define INCLUDE_MAX 8

typedef struct reader {
    config *c;
    const char *text, *path, *folder;
    size_t at, len;
    int line;
    int continues; /* the line just handed out is indented */
    int status;
    entry *last;
} reader;

static char *next_line(char *buf, int cap, void *ctx)
{
    reader *r = ctx;
    if (r->status || r->at >= r->len) return NULL;
    const char *p = r->text + r->at, *end = memchr(p, '\n', r->len - r->at);
    const size_t n = (end ? (size_t)(end - p) : r->len - r->at);
    r->line++;
    size_t keep = n && p[n - 1] == '\r' ? n - 1 : n;
    if (keep > LINE_MAX_BYTES || (int)keep + 1 > cap) {
        r->status = FAIL(CO_E_CONFIG, "%s:%d: a line of %zu bytes; at most %d are read: go on in an indented line", r->path,
                         r->line, keep, LINE_MAX_BYTES);
        return NULL;
    }
    if (memchr(p, 0, n)) {
        r->status = FAIL(CO_E_CONFIG, "%s:%d: a NUL byte; this is not a text file", r->path, r->line);
        return NULL;
    }
    memcpy(buf, p, keep);
    buf[keep] = 0; /* no line end: inih takes trailing space off anyway */
    r->at += n + (end != NULL);
    r->continues = 0;
    if (buf[0] == '[') r->last = NULL; /* nothing above to go on with */
    if (isspace((unsigned char)buf[0])) {
        const char *q = buf;
        while (isspace((unsigned char)*q)) q++;
        r->continues = *q && *q != ';' && *q != '#';
        /* Debian's inih takes a comment off a value's first line only. */
        for (char *at = buf + 1; r->continues && *at; at++)
            if (*at == ';' && isspace((unsigned char)at[-1])) *at-- = 0;
    }
    return buf;
}

/* ${NAME} from the environment. */
static int expand(config *c, const char *value, const char *where, char **out)
{
    const char *open = strstr(value, "${"), *close = open ? strchr(open, '}') : NULL;
    *out = NULL;
    if (!open) {
        *out = arena_strndup(c->arena, value, strlen(value));
        return *out ? CO_OK : CO_E_NOMEM;
    }
    if (!close) return FAIL(CO_E_CONFIG, "%s: \"${\" without \"}\"", where);
    char name[256], *rest; /* a line is shorter */
    snprintf(name, sizeof name, "%.*s", (int)(close - open - 2), open + 2);
    const char *is = getenv(name);
    if (!is) return FAIL(CO_E_CONFIG, "%s: the environment has no variable %s", where, name);
    if (strpbrk(is, "\r\n") || strstr(is, " ;")) return FAIL(CO_E_CONFIG, "%s: variable %s: an INI value holds neither line ends nor \" ;\"", where, name);
    int r = expand(c, close + 1, where, &rest);
    if (r) return r;
    *out = arena_printf(c->arena, "%.*s%s%s", (int)(open - value), value, is, rest);
    return *out ? CO_OK : CO_E_NOMEM;
}

static int add(reader *r, const char *section, const char *key, const char *value)
{
    config *c = r->c;
    entry *e = config_find(c, section, key);
    if (r->continues && r->last && e == r->last) {
        if (value[0]) e->value = arena_printf(c->arena, "%s%s%s", e->value, e->value[0] ? " " : "", value);
        return e->value ? CO_OK : CO_E_NOMEM;
    }
    r->last = NULL;
    if (e && e->depth == c->depth)
        return FAIL(CO_E_CONFIG, "%s:%d: [%s] %s: set before, at %s", r->path, r->line, section, key, entry_where(c, e));
    if (e && e->depth < c->depth) return CO_OK; /* the including file has the last word */
    if (!e) {
        if (c->n == c->cap) {
            const size_t cap = c->cap ? c->cap * 2 : 64;
            entry *bigger = mem_grow(c->entries, c->cap, cap, sizeof *bigger);
            if (!bigger) return CO_E_NOMEM;
            c->entries = bigger;
            c->cap = cap;
        }
        e = &c->entries[c->n++];
    }
    memset(e, 0, sizeof *e);
    e->section = arena_strndup(c->arena, section, strlen(section));
    e->key = arena_strndup(c->arena, key, strlen(key));
    e->value = arena_strndup(c->arena, value, strlen(value));
    e->file = arena_strndup(c->arena, r->path, strlen(r->path));
    e->folder = arena_strndup(c->arena, r->folder, strlen(r->folder));
    e->line = r->line;
    e->depth = c->depth;
    r->last = e;
    return e->section && e->key && e->value && e->file && e->folder ? CO_OK : FAIL(CO_E_NOMEM, "out of memory");
}

static int include(reader *r, const char *key, const char *value)
{
    config *c = r->c;
    if (strcmp(key, "path") != 0)
        return FAIL(CO_E_CONFIG, "%s:%d: [include] %s: unknown key, did you mean \"path\"?", r->path, r->line, key);
    if (c->depth == INCLUDE_MAX) return FAIL(CO_E_CONFIG, "%s:%d: files include each other %d deep", r->path, r->line, INCLUDE_MAX);
    char *path = fs_join(r->folder, value);
    if (!path) return CO_E_NOMEM;
    int s = CO_OK;
    if (!fs_is_file(path)) s = FAIL(CO_E_CONFIG, "%s:%d: [include] path: no file '%s'", r->path, r->line, path);
    c->depth++;
    if (s == CO_OK) s = config_read_file(c, path);
    c->depth--;
    mem_free(path);
    return s;
}

static int handle(void *ctx, const char *section, const char *key, const char *value)
{
    reader *r = ctx;
    char where[512];
    if (r->status) return 1;
    snprintf(where, sizeof where, "%s:%d", r->path, r->line);
    if (!section[0]) {
        r->status = FAIL(CO_E_CONFIG, "%s: \"%s\" stands before the first [section]", where, key);
        return 1;
    }
    char *text;
    r->status = expand(r->c, value, where, &text);
    if (r->status == CO_OK) r->status = strcmp(section, "include") == 0 ? include(r, key, text) : add(r, section, key, text);
    return 1;
}

int config_read_file(config *c, const char *path)
{
    char *data = NULL;
    size_t len = 0;
    if (!fs_is_file(path)) return FAIL(CO_E_CONFIG, "no file '%s'", path);
    int s = fs_read_all(path, &data, &len, 1 << 20);
    if (s) return s == CO_E_NOMEM ? s : error_prefix(CO_E_CONFIG, "reading the configuration");
    char *absolute = fs_absolute(path), *folder = absolute ? fs_dirname(absolute) : NULL;
    reader r = {.c = c, .text = data, .len = len, .path = path, .folder = folder};
    if (!folder) s = CO_E_NOMEM;
    else s = ini_parse_stream(next_line, &r, handle, &r);
    if (r.status && !(s > 0 && s < r.line)) s = r.status; /* reading stopped at that line; the first mistake is told */
    else if (s > 0) s = FAIL(CO_E_CONFIG, "%s:%d: neither [section], nor key = value, nor a comment", path, s);
    else if (s < 0) s = FAIL(CO_E_NOMEM, "out of memory reading '%s'", path);
    mem_free(folder);
    mem_free(absolute);
    mem_free(data);
    return s;
}
