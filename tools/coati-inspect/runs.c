/* runs.c: a checkpoint's state and tensors; what a run's output directory says about the run. Nothing is changed: leftovers
 * of an interrupted write are named and stay. */
#include "inspect.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_MAX = 1 << 16, CONFIG_MAX = 1 << 20 };

typedef struct state { char step[32], states[16], format[16]; } state;

/* state.json of a checkpoint, and that its files can be opened: what --resume needs. */
static int read_state(const char *dir, state *out)
{
    char *path = fs_join(dir, "state.json"), *text = NULL, *weights = fs_join(dir, "weights.safetensors");
    size_t len;
    st_set *s = NULL;
    int r = path && weights ? CO_OK : CO_E_NOMEM;
    if (r == CO_OK && !fs_is_file(path)) r = FAIL(CO_E_FORMAT, "%s: no such file: not a complete checkpoint", path);
    if (r == CO_OK) r = fs_read_all(path, &text, &len, STATE_MAX);
    if (r == CO_OK) r = text_json(path, text, len, "step", out->step, sizeof out->step);
    if (r == CO_OK) r = text_json(path, text, len, "optimizer_states", out->states, sizeof out->states);
    if (r == CO_OK) r = text_json(path, text, len, "format", out->format, sizeof out->format);
    if (r == CO_OK && !out->step[0]) r = FAIL(CO_E_FORMAT, "%s: no \"step\"", path);
    if (r == CO_OK) r = st_open_file(weights, &s);
    st_close(s);
    mem_free(text);
    mem_free(weights);
    mem_free(path);
    return r;
}

static int print_file_of(const char *dir, const char *name, int (*print)(const char *))
{
    char *path = fs_join(dir, name);
    int r = !path ? CO_E_NOMEM : fs_is_file(path) ? print(path) : CO_OK;
    mem_free(path);
    return r;
}

static int print_config(const char *path)
{
    char *text;
    size_t len;
    int r = fs_read_all(path, &text, &len, CONFIG_MAX);
    if (r) return r;
    printf("\n; %s\n%s", path, text);
    mem_free(text);
    return CO_OK;
}

int inspect_checkpoint(const char *dir)
{
    state s;
    int r = read_state(dir, &s);
    if (r) return r;
    printf("%s: a checkpoint\n  step      %s\n  states    %s a parameter\n", dir, s.step, s.states);
    r = print_file_of(dir, "weights.safetensors", inspect_weights);
    if (r == CO_OK) r = print_file_of(dir, "optimizer.safetensors", inspect_weights);
    return r;
}

/* ---- a run's output directory ---------------------------------------------------------------------------------- */
static int64_t step_of(const char *name)
{
    char *end;
    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9') return -1;
    const int64_t n = strtoll(name + 5, &end, 10);
    return *end ? -1 : n;
}

static int print_checkpoints(const char *dir)
{
    char *folder = fs_join(dir, "checkpoints"), **names = NULL;
    size_t n = 0;
    int64_t newest = -1;
    int r = !folder ? CO_E_NOMEM : fs_is_dir(folder) ? fs_list(folder, &names, &n) : CO_OK;
    printf("  checkpoints");
    for (size_t i = 0; i < n; i++) {
        if (step_of(names[i]) > newest) newest = step_of(names[i]);
        if (step_of(names[i]) >= 0) printf(" %s", names[i]);
    }
    printf("%s\n", newest < 0 ? " none" : "");
    for (size_t i = 0; i < n; i++)
        if (step_of(names[i]) < 0) printf("  leftover    %s: of an interrupted write; the next start removes it\n", names[i]);
    if (r == CO_OK && newest >= 0) {
        state s;
        char *path = mem_printf("%s/step-%" PRId64, folder, newest);
        r = path ? read_state(path, &s) : CO_E_NOMEM;
        if (r == CO_OK) printf("  resumable   yes, from step %s\n", s.step);
        else if (r != CO_E_NOMEM) printf("  resumable   no: %s\n", error_message()), r = CO_OK;
        mem_free(path);
    } else if (r == CO_OK) {
        printf("  resumable   no: no checkpoint\n");
    }
    fs_free_list(names, n);
    mem_free(folder);
    return r;
}

/* Last training line and last evaluation of metrics.jsonl. */
static int print_metrics(const char *path)
{
    char *text, step[32] = "", epoch[32] = "", loss[32] = "", eval_step[32] = "", eval_loss[32] = "";
    size_t len, line = 0;
    int r = fs_read_all(path, &text, &len, SIZE_MAX / 2);
    if (r) return r;
    for (char *p = text, *end; r == CO_OK && (end = memchr(p, '\n', len - (size_t)(p - text))) != NULL; p = end + 1) {
        char where[64], value[32];
        const size_t n = (size_t)(end - p);
        line++;
        *end = 0; /* a line that is not the last of its kind need not be read */
        const char *later = strstr(end + 1, strstr(p, "\"eval_loss\"") ? "\"eval_loss\"" : "\"loss\"");
        if (later) continue;
        snprintf(where, sizeof where, "metrics.jsonl line %zu", line);
        r = text_json(where, p, n, "loss", value, sizeof value);
        const int training = strstr(p, "\"loss\"") != NULL;
        if (r == CO_OK && training) {
            snprintf(loss, sizeof loss, "%s", value[0] ? value : "nan");
            r = text_json(where, p, n, "step", step, sizeof step);
            if (r == CO_OK) r = text_json(where, p, n, "epoch", epoch, sizeof epoch);
        } else if (r == CO_OK) {
            r = text_json(where, p, n, "step", eval_step, sizeof eval_step);
            if (r == CO_OK) r = text_json(where, p, n, "eval_loss", eval_loss, sizeof eval_loss);
        }
    }
    if (r == CO_OK && step[0]) printf("  metrics     step %s, epoch %.2f, loss %.6g\n", step, strtod(epoch, NULL), strtod(loss, NULL));
    if (r == CO_OK && eval_loss[0]) printf("  evaluation  step %s, loss %.6g\n", eval_step, strtod(eval_loss, NULL));
    if (r == CO_OK && !step[0]) printf("  metrics     no step yet\n");
    mem_free(text);
    return r;
}

int inspect_run(const char *dir)
{
    static const char *const results[] = {"model", "adapter", "report.html", "tensorboard"};
    printf("%s: a run\n", dir);
    int r = print_checkpoints(dir), any = 0;
    if (r == CO_OK) r = print_file_of(dir, "metrics.jsonl", print_metrics);
    for (size_t i = 0; i < sizeof results / sizeof *results && r == CO_OK; i++) {
        char *path = fs_join(dir, results[i]);
        if (path && (fs_is_dir(path) || fs_is_file(path))) printf("%s %s", any++ ? "" : "  written    ", results[i]);
        mem_free(path);
    }
    if (any) putchar('\n');
    return r == CO_OK ? print_file_of(dir, "config.ini", print_config) : r;
}
