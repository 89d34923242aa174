#include "dump.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void write_ids(FILE *f, const char *name, const int32_t *v, int64_t n)
{
    fprintf(f, "\"%s\": [", name);
    for (int64_t i = 0; i < n; i++) fprintf(f, i ? ",%d" : "%d", (int)v[i]);
    fputc(']', f);
}

static void write_step(FILE *f, int64_t step, const step_batch *b)
{
    fprintf(f, "{\"step\": %lld, \"micro\": [", (long long)step);
    for (int32_t i = 0; i < b->n_micro; i++) {
        const batch *m = &b->micro[i];
        fputs(i ? ", {" : "{", f);
        write_ids(f, "ids", m->ids, m->n_tokens);
        fputs(", ", f);
        write_ids(f, "labels", m->labels, m->n_tokens);
        fputs(", ", f);
        write_ids(f, "seq_start", m->seq_start, m->n_seqs + 1);
        fputc('}', f);
    }
    fputs("]}\n", f);
}

static int dump(loader *l, const char *dir, const char *name)
{
    char *path = fs_join(dir, name);
    FILE *f = path ? fopen(path, "w") : NULL;
    const step_batch *b;
    int64_t step = 0;
    int r = path ? CO_OK : CO_E_NOMEM;
    if (path && !f) r = FAIL(CO_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    while (r == CO_OK && (r = loader_next(l, &b)) == CO_OK) write_step(f, ++step, b);
    if (f && (ferror(f) | fclose(f)) && r >= 0) r = FAIL(CO_E_IO, "%s: writing failed: %s", path, strerror(errno));
    if (r >= 0) printf("%s: %lld batches\n", path, (long long)step);
    mem_free(path);
    return r < 0 ? r : CO_OK;
}

int dump_batches(run *r, const char *dir)
{
    int s = fs_mkdirs(dir);
    if (s == CO_OK) s = dump(r->train.loader, dir, "train.jsonl");
    if (s == CO_OK && r->eval.loader) s = dump(r->eval.loader, dir, "eval.jsonl");
    return s;
}
