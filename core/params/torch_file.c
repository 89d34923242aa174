/* torch_file.c: archive and pickle put together: where each tensor's bytes are. */
#include <stdlib.h>
#include <string.h>
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/params/torch_private.h"

#define ONE "pytorch_model.bin"
#define INDEX "pytorch_model.bin.index.json"
#define PICKLE_MAX 268435456u /* bytes: names and shapes of far more tensors than any model has */

typedef struct file {
    st_set *set;
    const char *path;
    co_arena *arena;
    zip_member *members; /* sorted by name */
    size_t n, prefix_len;
    const char *prefix;  /* "archive/", with which every name starts */
} file;

static int by_member_name(const void *a, const void *b)
{
    const zip_member *x = a, *y = b;
    const size_t n = x->name_len < y->name_len ? x->name_len : y->name_len;
    const int c = memcmp(x->name, y->name, n);
    return c ? c : (x->name_len > y->name_len) - (x->name_len < y->name_len);
}

static const zip_member *find(const file *f, const char *folder, const char *name)
{
    zip_member key;
    char *full = arena_printf(f->arena, "%.*s%s%s", (int)f->prefix_len, f->prefix, folder, name);
    if (!full) return NULL;
    key.name = full;
    key.name_len = strlen(full);
    return bsearch(&key, f->members, f->n, sizeof key, by_member_name);
}

static int wrong(const file *f, const torch_tensor *t, const char *what)
{
    return FAIL(CO_E_FORMAT, "%s: tensor \"%.200s\": %s", f->path, t->name, what);
}

/* Elements, and whether they lie side by side in row-major order. Sizes of 1 may have any stride. */
static int count(const torch_tensor *t, int64_t *n, int *contiguous)
{
    *n = 1;
    *contiguous = 1;
    for (uint32_t i = t->ndim; i-- > 0;) {
        if (t->ne[i] > 1 && t->stride[i] != *n) *contiguous = 0;
        if (__builtin_mul_overflow(*n, t->ne[i], n)) return 0;
        if (t->ne[i] == 0) return *n = 0, *contiguous = 1, 1;
    }
    return 1;
}

static int add_tensor(void *ctx, const torch_tensor *t)
{
    file *f = ctx;
    st_tensor x = {.file = f->path, .ndim = t->ndim};
    int64_t n;
    int contiguous;
    for (const char *c = t->name; *c; c++)
        if (*c < 33 || *c > 126) return FAIL(CO_E_FORMAT, "%s: a tensor's name holds a character that is no printable ASCII", f->path);
    const zip_member *m = find(f, "data/", t->key);
    const size_t size = st_dtype(t->dtype, &x.dtype);
    if (!m) return wrong(f, t, "its data is not in the archive");
    if (!count(t, &n, &contiguous)) return wrong(f, t, "its shape overflows 64 bits");
    if (!contiguous) return wrong(f, t, "its elements do not lie side by side (a transposed view?); save it with .contiguous()");
    if ((uint64_t)t->stored != m->len / size || m->len % size) return wrong(f, t, "its storage has another size than the pickle says");
    if (t->offset > t->stored || n > t->stored - t->offset) return wrong(f, t, "it reaches beyond its storage");
    memcpy(x.ne, t->ne, sizeof x.ne);
    memcpy(x.dtype_name, t->dtype, strlen(t->dtype) + 1);
    x.bytes = (size_t)n * size;
    x.data = m->data + (size_t)t->offset * size;
    x.name = arena_strndup(f->set->names, t->name, strlen(t->name));
    if (!x.name) return CO_E_NOMEM;
    if ((f->set->n & (f->set->n - 1)) == 0) { /* a power of two: full */
        st_tensor *grown = mem_grow(f->set->tensors, f->set->n, f->set->n ? 2 * f->set->n : 1, sizeof *grown);
        if (!grown) return CO_E_NOMEM;
        f->set->tensors = grown;
    }
    f->set->tensors[f->set->n++] = x;
    return CO_OK;
}

static int parse_archive(file *f, const void *data, size_t len)
{
    int r = zip_members(f->path, data, len, f->arena, &f->members, &f->n);
    const zip_member *pickle = NULL;
    static const char end[] = "/data.pkl";
    if (r) return r;
    for (size_t i = 0; i < f->n && !pickle; i++) {
        const zip_member *m = &f->members[i];
        if (m->name_len < sizeof end || memcmp(m->name + m->name_len - (sizeof end - 1), end, sizeof end - 1) != 0) continue;
        pickle = m;
        f->prefix = m->name;
        f->prefix_len = m->name_len - (sizeof end - 2);
    }
    if (!pickle || pickle->len > PICKLE_MAX || f->prefix_len > 1000) return FAIL(CO_E_FORMAT, "%s: a zip archive, but not one of torch.save: no data.pkl", f->path);
    const zip_member kept = *pickle;
    qsort(f->members, f->n, sizeof *f->members, by_member_name);
    const zip_member *order = find(f, "", "byteorder");
    if (order && (order->len != 6 || memcmp(order->data, "little", 6) != 0)) return FAIL(CO_E_FORMAT, "%s: written on a big-endian machine", f->path);
    return torch_pickle(f->path, kept.data, kept.len, f->arena, add_tensor, f);
}

int torch_parse(st_set *s, const char *path, const void *data, size_t len)
{
    const unsigned char *p = data;
    file f = {.set = s, .path = path, .arena = arena_new(1 << 16)};
    int r;
    if (!f.arena) return CO_E_NOMEM;
    if (len >= 2 && p[0] == 0x80 && p[1] <= 5)
        r = FAIL(CO_E_FORMAT, "%s: written by PyTorch before 1.6, whose format is not read; load it in Python and save it as safetensors", path);
    else if (len < 4 || memcmp(p, "PK\3\4", 4) != 0)
        r = FAIL(CO_E_FORMAT, "%s: not a file of torch.save (a zip archive)", path);
    else r = parse_archive(&f, data, len);
    arena_free(f.arena);
    return r;
}

static int add_file(st_set *s, const char *path)
{
    char *kept = arena_strndup(s->names, path, strlen(path));
    fs_map *grown = mem_grow(s->maps, s->n_maps, s->n_maps + 1, sizeof *grown);
    if (grown) s->maps = grown;
    if (!kept || !grown) return CO_E_NOMEM;
    int r = fs_map_open(kept, &s->maps[s->n_maps]);
    if (r) return r;
    s->n_maps++;
    const size_t before = s->n;
    st_set *one = st_set_new(); /* add_tensor's list grows from nothing */
    if (!one) return CO_E_NOMEM;
    r = torch_parse(one, kept, s->maps[s->n_maps - 1].data, s->maps[s->n_maps - 1].len);
    st_tensor *all = r == CO_OK && one->n ? mem_grow(s->tensors, before, before + one->n, sizeof *all) : NULL;
    if (r == CO_OK && one->n && !all) r = CO_E_NOMEM;
    if (all) s->tensors = all;
    for (size_t i = 0; all && i < one->n && r == CO_OK; i++) {
        all[before + i] = one->tensors[i];
        all[before + i].name = arena_strndup(s->names, one->tensors[i].name, strlen(one->tensors[i].name));
        if (!all[before + i].name) r = CO_E_NOMEM;
    }
    if (r == CO_OK) s->n += one->n;
    st_close(one);
    return r;
}

int torch_open_file(const char *path, st_set **out)
{
    st_set *s = st_set_new();
    int r = s ? add_file(s, path) : CO_E_NOMEM;
    if (r == CO_OK) r = st_set_finish(s);
    if (r) st_close(s);
    else *out = s;
    return r;
}

static int there(const char *dir, const char *name, char **path)
{
    *path = fs_join(dir, name);
    return *path && fs_is_file(*path);
}

int torch_is_there(const char *dir)
{
    char *one, *index;
    const int a = there(dir, ONE, &one), b = there(dir, INDEX, &index);
    mem_free(one);
    mem_free(index);
    return a || b;
}

int torch_open_dir(const char *dir, st_set **out)
{
    char *one, *index;
    const int a = there(dir, ONE, &one), b = there(dir, INDEX, &index);
    int r = a ? torch_open_file(one, out) : b ? st_open_index(dir, index, add_file, out) : FAIL(CO_E_FORMAT, "%s: neither " ONE " nor " INDEX " is there", dir);
    mem_free(one);
    mem_free(index);
    return r;
}
