/* search.c: what a folder of plugins offers, before any is opened: by plugins.index, then by file names. */
#include "core/host/host_impl.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include <string.h>

#define INDEX_NAME "plugins.index"
#define INDEX_MAX_BYTES ((size_t)1 << 20)

static int add_row(search_list *l, uint32_t kind, const char *name, size_t name_len, const char *file, size_t file_len)
{
    if (l->n == l->cap) {
        const size_t cap = l->cap ? l->cap * 2 : 32;
        search_row *bigger = mem_grow(l->rows, l->cap, cap, sizeof *bigger);
        if (!bigger) return CO_E_NOMEM;
        l->rows = bigger;
        l->cap = cap;
    }
    search_row *r = &l->rows[l->n];
    r->kind = kind;
    r->name = mem_printf("%.*s", (int)name_len, name);
    r->file = mem_printf("%.*s", (int)file_len, file);
    if (r->name && r->file) return l->n++, CO_OK;
    mem_free(r->name);
    mem_free(r->file);
    return CO_E_NOMEM;
}

/* The next word of a line and its length; 0: none. */
static size_t word(const char **at, const char *end)
{
    while (*at < end && (**at == ' ' || **at == '\t')) ++*at;
    const char *p = *at;
    while (p < end && *p != ' ' && *p != '\t' && *p != '\r') p++;
    return (size_t)(p - *at);
}

static int index_line(search_list *l, const char *dir, const char *path, int line, const char *at, const char *end)
{
    const char *w[3] = {"", "", ""};
    size_t n[3] = {0};
    char kind_text[32];
    co_kind kind = 0;
    for (int i = 0; i < 3; i++, at += n[i - 1]) n[i] = word(&at, end), w[i] = at;
    if (n[0] == 0 || w[0][0] == '#') return CO_OK;
    if (n[2] == 0 || word(&at, end)) return FAIL(CO_E_ABI, "%s:%d: expected kind, name and file", path, line);
    memset(kind_text, 0, sizeof kind_text);
    memcpy(kind_text, w[0], n[0] < sizeof kind_text ? n[0] : sizeof kind_text - 1);
    if (kind_from_name(kind_text, &kind) != CO_OK) return FAIL(CO_E_ABI, "%s:%d: '%s' is no kind of plugin", path, line, kind_text);
    if (memchr(w[2], '/', n[2])) return FAIL(CO_E_ABI, "%s:%d: '%.*s': expected a file of this folder", path, line, (int)n[2], w[2]);
    char *file = mem_printf("%s/%.*s", dir, (int)n[2], w[2]);
    if (!file) return CO_E_NOMEM;
    const int there = fs_is_file(file); /* an index may be ahead of what is installed */
    mem_free(file);
    return there ? add_row(l, kind, w[1], n[1], w[2], n[2]) : CO_OK;
}

static int read_index(search_list *l, const char *dir)
{
    char *path = fs_join(dir, INDEX_NAME), *text = NULL;
    size_t len = 0;
    int r = path ? CO_OK : CO_E_NOMEM, line = 0;
    if (r == CO_OK && fs_is_file(path)) r = fs_read_all(path, &text, &len, INDEX_MAX_BYTES);
    for (const char *p = text; r == CO_OK && p && p < text + len;) {
        const char *end = memchr(p, '\n', (size_t)(text + len - p));
        if (!end) end = text + len;
        r = index_line(l, dir, path, ++line, p, end);
        p = end + 1;
    }
    mem_free(text);
    mem_free(path);
    return r;
}

/* coati-<kind>-<name>.so; a file that says an unknown kind is kept as kind 0, so that listings can say what it is. */
static int add_by_name(search_list *l, const char *file)
{
    static const char start[] = "coati-", ending[] = ".so";
    const size_t len = strlen(file);
    if (len <= sizeof start - 1 + sizeof ending - 1 || strncmp(file, start, sizeof start - 1) != 0 ||
        strcmp(file + len - (sizeof ending - 1), ending) != 0)
        return CO_OK;
    const char *at = file + sizeof start - 1;
    uint32_t kind = 0;
    for (uint32_t k = 1; table_of(k); k++) {
        const size_t n = strlen(table_of(k)->name);
        if (strncmp(at, table_of(k)->name, n) != 0 || at[n] != '-') continue;
        kind = k;
        at += n + 1;
        break;
    }
    const size_t n = (size_t)(file + len - (sizeof ending - 1) - at);
    for (size_t i = 0; i < l->n; i++)
        if (l->rows[i].kind == kind && strlen(l->rows[i].name) == n && strncmp(l->rows[i].name, at, n) == 0) return CO_OK;
    return add_row(l, kind, at, n, file, len);
}

int search_folder(const char *dir, search_list *out)
{
    char **names = NULL;
    size_t n = 0;
    *out = (search_list){0};
    if (!fs_is_dir(dir)) return CO_OK;
    int r = read_index(out, dir);
    if (r == CO_OK) r = fs_list(dir, &names, &n);
    for (size_t i = 0; i < n && r == CO_OK; i++) r = add_by_name(out, names[i]);
    fs_free_list(names, n);
    if (r) search_free(out);
    return r;
}

void search_free(search_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        mem_free(l->rows[i].name);
        mem_free(l->rows[i].file);
    }
    mem_free(l->rows);
    *l = (search_list){0};
}
