#include "core/train/checkpoint.h"
#include "core/train/checkpoint_state.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/params/safetensors.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (1 << 18) /* elements moved at a time */

static char *step_dir(const char *output, int64_t step, const char *suffix)
{
    return mem_printf("%s/checkpoints/step-%" PRId64 "%s", output, step, suffix);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */
/* Frozen parameters come from the model's directory, or the seed, again. */
static int own_storage(const param_table *t, uint32_t p) { return t->slots[p].owner == p && t->slots[p].trainable; }

static int declare(st_writer *w, const param_table *t, uint32_t first_what, uint32_t last_what)
{
    char name[512];
    int r = CO_OK;
    for (uint32_t what = first_what; what <= last_what; what++)
        for (uint32_t p = 0; p < t->n_params && r == CO_OK; p++) {
            if (!own_storage(t, p)) continue;
            if (what) snprintf(name, sizeof name, "%s.state%u", t->slots[p].name, what);
            else snprintf(name, sizeof name, "%s", t->slots[p].name);
            r = st_write_declare(w, name, CO_F32, t->slots[p].shape.ndim, t->slots[p].shape.ne);
        }
    return r;
}

typedef struct writing { /* one file */
    engine *e;
    const param_table *t;
    st_writer *w;
    float *buf;         /* [PIECE] */
    uint32_t what, first_what;
    const size_t *at;   /* by parameter: its place among the tensors of one `what` */
    size_t n_at;        /* tensors of one `what` */
} writing;

static int write_range(void *ctx, uint32_t p, int64_t first, int64_t n)
{
    const writing *x = ctx;
    int r = CO_OK;
    if (!own_storage(x->t, p)) return CO_OK;
    for (int64_t i = 0; i < n && r == CO_OK; i += PIECE) {
        const int64_t m = n - i < PIECE ? n - i : PIECE;
        r = engine_read(x->e, p, x->what, first + i, m, x->buf);
        if (r == CO_OK)
            r = st_write_at(x->w, (x->what - x->first_what) * x->n_at + x->at[p], (uint64_t)(first + i) * sizeof(float), x->buf, (size_t)m * sizeof(float));
    }
    return r;
}

static int agree(const checkpoint_team *team, int status) { return team ? team->agree(team->ctx, status) : status; }

/* Collective. Rank 0 lays the file out, all write what they own. */
static int write_tensors(const char *path, engine *e, const param_table *t, uint32_t first_what, uint32_t last_what, float *buf, const size_t *at,
                         size_t n_at, const checkpoint_team *team)
{
    writing x = {.e = e, .t = t, .buf = buf, .first_what = first_what, .at = at, .n_at = n_at};
    const int first = !team || team->rank == 0;
    int r = CO_OK;
    for (int turn = 0; turn < 2 && r == CO_OK; turn++) {
        if (first == !turn) {
            r = first ? st_write_begin(path, &x.w) : st_write_join(path, &x.w);
            if (r == CO_OK) r = declare(x.w, t, first_what, last_what);
            if (r == CO_OK) r = st_write_place(x.w);
        }
        if (turn == 0) r = agree(team, r);
    }
    for (x.what = first_what; x.what <= last_what && r == CO_OK; x.what++) r = engine_owned(e, x.what, &x, write_range);
    if (r == CO_OK) return agree(team, st_write_finish(x.w));
    st_write_abort(x.w);
    return agree(team, r);
}

static int write_text(const char *dir, const char *name, const char *text)
{
    char *path = fs_join(dir, name);
    int r = path ? fs_write_atomic(path, text, strlen(text)) : CO_E_NOMEM;
    mem_free(path);
    return r;
}

static int fill(const char *dir, int64_t step, engine *e, const param_table *t, uint32_t n_state, const config *c, const checkpoint_team *team)
{
    char *weights = fs_join(dir, "weights.safetensors"), *optimizer = fs_join(dir, "optimizer.safetensors"), *ini = config_print(c);
    float *buf = mem_calloc(PIECE, sizeof *buf);
    size_t *at = mem_calloc(t->n_params + 1, sizeof *at), n_at = 0;
    const int first = !team || team->rank == 0;
    int r = weights && optimizer && ini && buf && at ? CO_OK : CO_E_NOMEM;
    for (uint32_t p = 0; p < t->n_params && r == CO_OK; p++)
        if (own_storage(t, p)) at[p] = n_at++;
    if (r == CO_OK && first) r = fs_mkdirs(dir);
    r = agree(team, r);
    if (r == CO_OK) r = write_tensors(weights, e, t, 0, 0, buf, at, n_at, team);
    if (r == CO_OK && n_state) r = write_tensors(optimizer, e, t, 1, n_state, buf, at, n_at, team);
    if (r == CO_OK && first) {
        r = write_text(dir, "config.ini", ini);
        if (r == CO_OK) r = checkpoint_write_state(dir, step, n_state, team ? team->world : 1, e);
        if (r == CO_OK) r = fs_sync_dir(dir);
    }
    mem_free(at);
    mem_free(buf);
    mem_free(ini);
    mem_free(optimizer);
    mem_free(weights);
    return r;
}

/* N of "step-N", -1 for other names. */
static int64_t step_of(const char *name)
{
    char *end;
    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9') return -1;
    const int64_t n = strtoll(name + 5, &end, 10);
    return *end ? -1 : n;
}

static void forget_old(const char *output, int64_t keep)
{
    char *dir = fs_join(output, "checkpoints"), **names = NULL;
    size_t n = 0;
    if (!dir || fs_list(dir, &names, &n) != CO_OK) {
        mem_free(dir);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        int64_t newer = 0;
        if (step_of(names[i]) < 0) continue;
        for (size_t k = 0; k < n; k++) newer += step_of(names[k]) > step_of(names[i]);
        if (newer < keep) continue;
        char *path = fs_join(dir, names[i]), *gone = path ? mem_printf("%s.tmp", path) : NULL;
        /* Renamed first: a half-removed folder must not look like a checkpoint. */
        if (gone && fs_rename_durable(path, gone) == CO_OK && fs_remove_tree(gone) != CO_OK)
            log_line(CO_LOG_WARN, "checkpoint", "%s", error_message());
        mem_free(gone);
        mem_free(path);
    }
    fs_free_list(names, n);
    mem_free(dir);
}

int checkpoint_save(const char *output, int64_t step, int64_t keep, engine *e, const param_table *t, uint32_t n_state, const config *c,
                    const checkpoint_team *team)
{
    char *tmp = step_dir(output, step, ".tmp"), *dir = step_dir(output, step, "");
    const int first = !team || team->rank == 0;
    int r = tmp && dir ? CO_OK : CO_E_NOMEM, there = 0;
    if (r == CO_OK && first) there = fs_is_dir(dir); /* a run that was resumed and ended without a step */
    if (r == CO_OK && first && !there) r = fs_remove_tree(tmp);
    r = agree(team, there ? CO_END : r);
    if (r == CO_END) {
        r = CO_OK;
        goto done;
    }
    if (r == CO_OK) r = fill(tmp, step, e, t, n_state, c, team);
    if (r == CO_OK && first) r = fs_rename_durable(tmp, dir);
    r = agree(team, r);
    if (r == CO_OK && first) forget_old(output, keep);
    if (r && tmp) {
        char why[1024];
        error_take(why, sizeof why);
        if (first) (void)fs_remove_tree(tmp);
        r = FAIL(r, "checkpoint of step %" PRId64 ": %s; earlier checkpoints are as they were", step, why);
    }
done:
    mem_free(dir);
    mem_free(tmp);
    return r;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */
int checkpoint_newest(const char *output, int clean, int64_t *step)
{
    char *dir = fs_join(output, "checkpoints"), **names = NULL;
    size_t n = 0;
    *step = 0;
    if (!dir) return CO_E_NOMEM;
    if (!fs_is_dir(dir)) {
        mem_free(dir);
        return CO_OK;
    }
    int r = fs_list(dir, &names, &n);
    for (size_t i = 0; i < n && r == CO_OK; i++) {
        const size_t len = strlen(names[i]);
        if (len > 4 && strcmp(names[i] + len - 4, ".tmp") == 0 && strncmp(names[i], "step-", 5) == 0) {
            if (!clean) continue;
            char *path = fs_join(dir, names[i]);
            r = path ? fs_remove_tree(path) : CO_E_NOMEM;
            mem_free(path);
        } else if (step_of(names[i]) > *step) {
            *step = step_of(names[i]);
        }
    }
    fs_free_list(names, n);
    mem_free(dir);
    return r;
}

static int read_tensors(const char *path, engine *e, const param_table *t, uint32_t first_what, uint32_t last_what, float *buf)
{
    st_set *file = NULL;
    char name[512];
    int r = st_open_file(path, &file);
    for (uint32_t what = first_what; what <= last_what && r == CO_OK; what++)
        for (uint32_t p = 0; p < t->n_params && r == CO_OK; p++) {
            const int64_t total = param_elements(&t->slots[p]);
            if (!own_storage(t, p)) continue;
            if (what) snprintf(name, sizeof name, "%s.state%u", t->slots[p].name, what);
            else snprintf(name, sizeof name, "%s", t->slots[p].name);
            const st_tensor *x = st_find(file, name);
            if (!x || x->dtype != CO_F32 || x->bytes != (size_t)total * sizeof(float))
                r = FAIL(CO_E_FORMAT, "%s: tensor '%s' is missing or of another size: not a checkpoint of this model", path, name);
            for (int64_t at = 0; at < total && r == CO_OK; at += PIECE) {
                const int64_t n = total - at < PIECE ? total - at : PIECE;
                r = st_read_f32(x, at, n, buf);
                if (r == CO_OK) r = engine_write(e, p, what, at, n, buf);
            }
        }
    st_close(file);
    return r;
}

int checkpoint_load(const char *output, int64_t step, engine *e, const param_table *t, uint32_t n_state)
{
    char *dir = step_dir(output, step, ""), *weights = dir ? fs_join(dir, "weights.safetensors") : NULL;
    char *optimizer = dir ? fs_join(dir, "optimizer.safetensors") : NULL;
    float *buf = mem_calloc(PIECE, sizeof *buf);
    int r = weights && optimizer && buf ? read_tensors(weights, e, t, 0, 0, buf) : CO_E_NOMEM;
    if (r == CO_OK && n_state) r = read_tensors(optimizer, e, t, 1, n_state, buf);
    if (r == CO_OK) r = checkpoint_read_state(dir, step, e);
    mem_free(buf);
    mem_free(optimizer);
    mem_free(weights);
    mem_free(dir);
    return r;
}
