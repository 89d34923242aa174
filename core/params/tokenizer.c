#include "core/params/tokenizer.h"
#include <stdio.h>
#include <string.h>
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/params/tokenizer_guard.h"

static void bad_plugin(void *ctx, const char *path, const char *why)
{
    (void)ctx;
    log_line(CO_LOG_WARN, "tokenizer", "%s: passed over: %s", path, why);
}

/* Place of a file that is there among all kinds of file, 0 the best; -1: none is. Where a directory has several, the
 * first of these tells most: tokenizer.json names added tokens and what stands around a text. */
static int rank_files(const char *const *files, const char *dir, int *rank)
{
    static const char *const order[] = {"tokenizer.json", "tokenizer.model", "vocab.json"};
    enum { KNOWN = sizeof order / sizeof order[0] };
    *rank = -1;
    for (int i = 0; files && files[i]; i++) {
        int there, place = 0;
        if (fs_is_dir(dir)) {
            char *path = fs_join(dir, files[i]);
            if (!path) return CO_E_NOMEM;
            there = fs_is_file(path);
            mem_free(path);
        } else {
            there = fs_is_file(dir) && strcmp(fs_basename(dir), files[i]) == 0;
        }
        while (place < KNOWN && strcmp(order[place], files[i]) != 0) place++;
        if (place == KNOWN) place += i;
        if (there && (*rank < 0 || place < *rank)) *rank = place;
    }
    return CO_OK;
}

static int find_auto(host *h, const char *dir, const co_feature **out)
{
    char looked[400] = "";
    size_t at = 0;
    int best = -1;
    int rc = host_load_all(h, CO_KIND_TOKENIZER, bad_plugin, NULL);
    if (rc) return rc;
    for (size_t i = 0; i < host_count(h); i++) {
        const co_feature *f = host_at(h, i);
        if (f->kind != CO_KIND_TOKENIZER) continue;
        const char *const *files = host_tokenizer(h, f)->files;
        int rank;
        rc = rank_files(files, dir, &rank);
        if (rc) return rc;
        if (rank >= 0 && (best < 0 || rank < best)) {
            best = rank;
            *out = f;
        }
        for (int k = 0; files && files[k] && at < sizeof looked; k++)
            at += (size_t)snprintf(looked + at, sizeof looked - at, "%s%s", at ? ", " : "", files[k]);
    }
    if (best >= 0) return CO_OK;
    if (!fs_is_dir(dir) && !fs_is_file(dir)) return FAIL(CO_E_FORMAT, "%s: no such file or folder; the tokenizer was to be read there", dir);
    return FAIL(CO_E_FORMAT, "%s: no tokenizer found; looked for: %s", dir, at ? looked : "nothing, as no tokenizer plugin is installed");
}

/* The plugin's options struct, filled from [tokenizer]. */
static int bind_options(host *h, config *c, const co_feature *f, const char *dir, void **opts)
{
    const char *path = config_get(c, "tokenizer", "path");
    int rc = CO_OK;
    *opts = mem_alloc(f->opts_size + sizeof(co_tokenizer_common), 16);
    if (!*opts) return CO_E_NOMEM;
    if (!path || !*path) rc = config_set(c, "tokenizer", "path", dir);
    if (rc == CO_OK && f->opts)
        rc = config_bind(c, "tokenizer", f->opts, host_plugin_of(h, f)->magic.opt_stride, "tokenizer", *opts);
    /* The host's own part, whether the plugin's table has a row for it or not. */
    if (rc == CO_OK && !((const co_tokenizer_common *)*opts)->path) ((co_tokenizer_common *)*opts)->path = config_get(c, "tokenizer", "path");
    return rc;
}

int tokenizer_open(host *h, config *c, const char *name, const char *dir, tokenizer *out)
{
    const char *path = config_get(c, "tokenizer", "path");
    const co_feature *f = NULL;
    void *opts = NULL;
    tokenizer t = {0};
    int rc = strcmp(name, "auto") == 0 ? find_auto(h, path && *path ? path : dir, &f)
                                       : host_feature(h, CO_KIND_TOKENIZER, name, &f);
    if (rc) return rc;
    rc = bind_options(h, c, f, dir, &opts);
    if (rc) goto done;
    t.vt = host_tokenizer(h, f);
    t.name = f->name;
    const co_tokenizer_vt *inner = t.vt;
    void *self = NULL;
    rc = PLUGIN("the tokenizer's open()", inner->open(host_services(h), opts, &self));
    if (rc) goto done;
    rc = tokenizer_guard(inner, self, &t.vt, &t.self);
    if (rc) {
        inner->close(self);
        goto done;
    }
    (void)t.vt->n_vocab(t.self, &t.n_vocab);
    t.bos = t.vt->special(t.self, "bos");
    t.eos = t.vt->special(t.self, "eos");
    t.before = t.vt->special(t.self, "before");
    t.after = t.vt->special(t.self, "after");
    *out = t;
done:
    mem_free(opts);
    return rc;
}

void tokenizer_close(tokenizer *t)
{
    if (t->self) t->vt->close(t->self);
    *t = (tokenizer){0};
}

int tokenizer_check_fit(const tokenizer *t, int64_t model_vocab, const char *tokenizer_path, const char *model_path)
{
    if (t->n_vocab <= model_vocab) return CO_OK;
    return FAIL(CO_E_FORMAT, "%s: the tokenizer has %lld ids, the model in %s only %lld: they do not belong together",
                tokenizer_path, (long long)t->n_vocab, model_path, (long long)model_vocab);
}

size_t utf8_whole(const char *s, size_t n)
{
    /* Step back over at most 3 continuation bytes to the byte that may start an unfinished character. */
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)s[n - back];
        size_t need = c >= 0xF0 && c < 0xF5 ? 4 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xC2 && c < 0xE0 ? 2 : 1;
        if ((c & 0xC0) == 0x80) continue;
        return need > back ? n - back : n;
    }
    return n;
}
