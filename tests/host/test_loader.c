/* Plugins that are wrong in one way each: one clear line, CO_E_ABI, nothing left behind; and those that must work. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/host/host.h"
#include <unistd.h>

static const struct { const char *which, *says; } wrong[] = {
    {"entry", "not a coati plugin (it has no symbol coati_plugin_v1"},
    {"null", "not a coati plugin (its entry returned nothing)"},
    {"magic", "not a coati plugin (its table starts with 0x0badf00d)"},
    {"major", "built for plugin ABI 2, this is 1: build it against this version's headers"},
    {"minor", "needs plugin ABI 1.7, this is 1.0: use a newer coati, or an older version of the plugin"},
    {"pointer", "built for 32-bit pointers, this is 64-bit"},
    {"dims", "built for tensors of 8 dimensions, this has 4"},
    {"stride", "its option rows have 8 bytes, at least"},
    {"plugin_size", "its description has 16 bytes, at least"},
    {"featureless", "offers no feature"},
    {"feature_size", "a feature's record has 16 bytes, at least"},
    {"kind", "feature 'good' is of kind 99, which does not exist"},
    {"nameless", "a loss without a name"},
    {"no_table", "loss 'good' has no table of functions"},
    {"short_table", "bytes ends before 'build'"},
    {"member", "bytes) lacks the required function 'close'"},
    {"twice", "loss 'good' is already there, from"},
    {"init", "its start-up failed: no moon tonight"},
    {"init_silent", "its start-up failed: no reason given"},
    {"symbol", "coati_nobody_has_this. `ldd"},
    {"opt_type", "loss 'good': option \"wrong\": its type 77 does not exist"},
    {"opt_offset", "option \"wrong\": 8 bytes at offset 16 do not fit an options struct of 16"},
    {"opt_align", "option \"wrong\": 8 bytes at offset 4 do not fit"},
    {"opt_names", "option \"wrong\": names none of its values"},
    {"opt_default", "default: [loss] wrong = many: expected a whole number"},
    {"opt_default_range", "default: [loss] wrong = 11: out of range, 1 to 10 is allowed"},
    {"opt_range", "option \"wrong\": its range is 10 to 1"},
    {"opt_twice", "option \"weight\" is there twice"},
    {"needs_op", "loss 'good' needs the op \"teleport\", which this version (plugin ABI 1.0) has not: use a newer coati"},
    {"needs_tag", "loss 'good' needs \"moon:full\", which this version does not know; it knows \"op:NAME\" and \"mem:device\""},
    {"needs_end", "loss 'good' needs more than 64 things: does its list end with NULL?"},
    {"opt_key", "option \"a key\": a key holds lower-case letters"},
};

static void file_of(char *buf, size_t cap, const char *which, const char *file) { snprintf(buf, cap, "%s/%s/%s", BAD_DIR, which, file); }

static void test_wrong(void)
{
    char path[4096];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        host *h = host_new(NULL);
        const size_t before = host_count(h);
        (void)FAIL(CO_E_IO, "an older message");
        file_of(path, sizeof path, wrong[i].which, "coati-loss-good.so");
        CHECK_MSG(host_load_file(h, path) == CO_E_ABI, "%s", wrong[i].which);
        CHECK_HAS(error_message(), wrong[i].says);
        CHECK_HAS(error_message(), path);
        CHECK_MSG(!strchr(error_message(), '\n'), "more than one line: %s", error_message());
        CHECK(error_exit_code(CO_E_ABI) == 2);
        CHECK(host_count(h) == before);
        host_free(h);
    }
}

static void test_works(void)
{
    static const char *const fine[] = {"none", "long_table", "needs_device"};
    const co_feature *f = NULL;
    char path[4096];
    for (int i = 0; i < 3; i++) {
        host *h = host_new(NULL);
        file_of(path, sizeof path, fine[i], "coati-loss-good.so");
        CHECK_MSG(host_load_file(h, path) == CO_OK, "%s", error_message());
        CHECK(host_load_file(h, path) == CO_OK); /* again: it is there, and that is fine */
        CHECK(host_feature(h, CO_KIND_LOSS, "good", &f) == CO_OK);
        const co_loss_vt *vt = host_loss(h, f);
        CHECK(vt && vt->build && vt->close && vt->wants == CO_LOSS_WANTS_HIDDEN);
        CHECK_STR(host_path_of(h, f), path);
        CHECK_STR(host_plugin_of(h, f)->version, "1.2.3");
        CHECK(host_backend(h, f) == NULL); /* the table of another kind is never handed out */
        /* Its dataset's table is older and ends before `clone`: what stands behind its end is not ours to read. */
        CHECK(host_feature(h, CO_KIND_DATASET, "good", &f) == CO_OK);
        CHECK(host_dataset(h, f) && host_dataset(h, f)->read && !host_dataset(h, f)->clone);
        host_free(h);
    }
}

static void test_not_shared_objects(void)
{
    char path[4096];
    host *h = host_new(NULL);
    CHECK(host_load_file(h, "/nowhere/coati-loss-x.so") == CO_E_ABI);
    CHECK_HAS(error_message(), "/nowhere/coati-loss-x.so: no such file");
    file_of(path, sizeof path, "text", "");
    CHECK(fs_mkdirs(path) == CO_OK);
    file_of(path, sizeof path, "text", "coati-loss-text.so");
    CHECK(fs_write_atomic(path, "hello\n", 6) == CO_OK);
    CHECK(host_load_file(h, path) == CO_E_ABI);
    CHECK_HAS(error_message(), "cannot be loaded");
    CHECK_HAS(error_message(), "`ldd ");
    host_free(h);
}

static void on_bad(void *ctx, const char *path, const char *why)
{
    ++*(int *)ctx;
    CHECK_HAS(why, path);
}

static host *host_over(const char *which)
{
    char folder[4096];
    file_of(folder, sizeof folder, which, "");
    folder[strlen(folder) - 1] = 0;
    return host_new(folder);
}

static void test_names(void)
{
    const co_feature *f;
    int bad = 0;
    host *h = host_over("other");
    CHECK(host_feature(h, CO_KIND_LOSS, "other", &f) == CO_E_ABI);
    CHECK_HAS(error_message(), "coati-loss-other.so: loads, but offers no loss 'other'");
    host_free(h);

    h = host_over("taken"); /* offers the name of an installed loss: whoever comes first stays */
    CHECK(host_feature(h, CO_KIND_LOSS, "causal_lm", &f) == CO_OK);
    CHECK(!strstr(host_path_of(h, f), "taken"));
    CHECK(host_load_all(h, 0, on_bad, &bad) == CO_OK && bad == 1);
    CHECK_HAS(error_message(), "coati-loss-taken.so: loss 'causal_lm' is already there, from ");
    host_free(h);

    h = host_over("none");
    CHECK(host_feature(h, CO_KIND_LOSS, "nothing", &f) == CO_E_CONFIG);
    CHECK_HAS(error_message(), "no loss plugin \"nothing\" found; installed: ");
    CHECK_HAS(error_message(), "good");
    CHECK_HAS(error_message(), "causal_lm");
    CHECK_HAS(error_message(), "tried: " BAD_DIR "/none/coati-loss-nothing.so, ");
    CHECK(host_feature(h, CO_KIND_LOSS, "../none/coati", &f) == CO_E_CONFIG);
    CHECK_HAS(error_message(), "is not the name of a loss");
    host_free(h);

    h = host_over("no-such-folder");
    CHECK(h && host_feature(h, CO_KIND_LOSS, "causal_lm", &f) == CO_OK);
    host_free(h);
}

static void put_index(const char *text)
{
    char path[4096];
    file_of(path, sizeof path, "index", "plugins.index");
    CHECK(fs_write_atomic(path, text, strlen(text)) == CO_OK);
}

static void test_index(void)
{
    const co_feature *f;
    static const struct { const char *index, *says; } broken[] = {
        {"loss good\n", "plugins.index:1: expected kind, name and file"},
        {"# x\nloss good a.so b\n", "plugins.index:2: expected kind, name and file"},
        {"lost good a.so\n", "plugins.index:1: 'lost' is no kind of plugin"},
        {"loss good ../index/several-features.so\n", "plugins.index:1: '../index/several-features.so': expected a file of this folder"}};
    int bad = 0;
    put_index("# nothing\n\n");
    host *h = host_over("index");
    CHECK(host_feature(h, CO_KIND_LOSS, "good", &f) == CO_E_CONFIG); /* its file's name says nothing */
    put_index("# kind name file\nloss good several-features.so\r\n  dataset\tgood several-features.so\nloss gone gone.so");
    CHECK(host_feature(h, CO_KIND_DATASET, "good", &f) == CO_OK);
    CHECK(host_feature(h, CO_KIND_LOSS, "good", &f) == CO_OK);
    CHECK(host_feature(h, CO_KIND_LOSS, "gone", &f) == CO_E_CONFIG);
    host_free(h);

    h = host_over("index");
    CHECK(host_load_all(h, CO_KIND_DATASET, on_bad, &bad) == CO_OK && bad == 0);
    CHECK(host_feature(h, CO_KIND_LOSS, "good", &f) == CO_OK);
    host_free(h);

    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        put_index(broken[i].index);
        h = host_over("index");
        CHECK(host_feature(h, CO_KIND_LOSS, "good", &f) == CO_E_ABI);
        CHECK_HAS(error_message(), broken[i].says);
        bad = 0;
        CHECK(host_load_all(h, 0, on_bad, &bad) == CO_OK && bad == 1);
        host_free(h);
    }
    put_index("");
}

/* Every allocation on the way from nothing to a loaded plugin fails once: CO_E_NOMEM, and nothing leaks. */
static void test_out_of_memory(void)
{
    mem_counts before, after;
    int done = 0, n;
    mem_count(&before);
    for (n = 1; !done && n < 2000; n++) {
        const co_feature *f;
        mem_fail_after(n);
        host *h = host_over("none");
        int r = h ? host_feature(h, CO_KIND_LOSS, "good", &f) : CO_E_NOMEM;
        if (r == CO_OK) r = host_load_all(h, CO_KIND_LOSS, NULL, NULL);
        mem_fail_after(0);
        CHECK_MSG(r == CO_OK || r == CO_E_NOMEM, "allocation %d: %d, %s", n, r, error_message());
        done = r == CO_OK;
        host_free(h);
        mem_count(&after);
        CHECK_MSG(after.live_bytes == before.live_bytes, "allocation %d leaks %zu bytes", n, after.live_bytes - before.live_bytes);
    }
    CHECK(done && n > 10);
}

int main(void)
{
    test_wrong();
    test_works();
    test_not_shared_objects();
    test_names();
    test_index();
    test_out_of_memory();
    return check_done();
}
