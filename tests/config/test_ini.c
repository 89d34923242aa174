/* INI files as text: what is read, and every mistake with its file, line and cure. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/config/config.h"
#include <unistd.h>

static char dir[4096];

static const char *path_of(const char *name)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}
static void put(const char *name, const char *text) { CHECK(fs_write_atomic(path_of(name), text, strlen(text)) == CO_OK); }

static int read_text(const char *text, config **out)
{
    put("t.ini", text);
    *out = config_new();
    return config_read_file(*out, path_of("t.ini"));
}

static void test_reads(void)
{
    static const struct { const char *text, *section, *key, *value; } cases[] = {
        {"[run]\nseed = 7\n", "run", "seed", "7"},
        {"[run]\r\nseed = 7\r\n", "run", "seed", "7"},
        {"\xef\xbb\xbf[run]\nseed=7", "run", "seed", "7"},
        {"; c\n# c\n\n[run] ; c\nseed = 7 ; c\n", "run", "seed", "7"},
        {"[dataset.eval]\npath = a;b # c\n", "dataset.eval", "path", "a;b # c"},
        {"[a]\nk = one\n  two\n\tthree ; c\n", "a", "k", "one two three"},
        {"[a]\nk = one\n  ; c\n  # c\n  two\n", "a", "k", "one two"},
        {"[a]\nk =\n", "a", "k", ""},
        {"[a]\nk =\n  one\n", "a", "k", "one"},
        {"[a]\nk = one\n  ${COATI_EMPTY}\n", "a", "k", "one"},
        {"[a]\n  k = v\n", "a", "k", "v"},
        {"[a]\nx=1\n[b]\ny=2\n[a]\nk=3\n", "a", "k", "3"},
        {"[a]\nk = ${COATI_T}/x${COATI_T}y\n", "a", "k", "deep/xdeepy"},
        {"[a]\nk = $x {y}\n", "a", "k", "$x {y}"},
    };
    setenv("COATI_T", "deep", 1);
    setenv("COATI_EMPTY", "", 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        config *c;
        CHECK_MSG(read_text(cases[i].text, &c) == CO_OK, "%s: %s", cases[i].text, error_message());
        const char *v = config_get(c, cases[i].section, cases[i].key);
        CHECK_STR(v ? v : "(absent)", cases[i].value);
        config_free(c);
    }
}

static void test_mistakes(void)
{
    static const struct { const char *text, *says; } cases[] = {
        {"seed = 1\n", "t.ini:1: \"seed\" stands before the first [section]"},
        {"[run]\nhello\n", "t.ini:2: neither [section], nor key = value, nor a comment"},
        {"[run]\nseed = 1\n[rum\nseed = 1\n", "t.ini:3: neither [section]"}, /* the first mistake is told, not the last */
        {"[run]\nhello\nseed = 1\nseed = 2\n", "t.ini:2: neither"},
        {"[run]\nseed = 1\nseed = 2\nhello\n", "t.ini:3: [run] seed: set before, at "},
        {"[run]\nseed = 1\n[run]\n  seed = 2\n", "t.ini:4: [run] seed: set before, at "},
        {"[a]\nk = ${COATI_NO_SUCH}\n", "t.ini:2: the environment has no variable COATI_NO_SUCH"},
        {"[a]\nk = ${COATI_T\n", "t.ini:2: \"${\" without \"}\""},
        {"[a]\nk = ${COATI_LINES}\n", "t.ini:2: variable COATI_LINES: an INI value holds neither line ends"},
        {"[include]\npath = nowhere.ini\n", "t.ini:2: [include] path: no file '"},
        {"[include]\npaht = t.ini\n", "t.ini:2: [include] paht: unknown key, did you mean \"path\"?"},
        {"[include]\npath = t.ini\n", "t.ini:2: files include each other 8 deep"},
        {"[include]\npath = other.ini\n", "other.ini:1: \"x\" stands before"},
        {"[include]\npath = .\n", "t.ini:2: [include] path: no file '"},
    };
    config *c;
    setenv("COATI_LINES", "a\nb", 1);
    put("other.ini", "x = 1\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_MSG(read_text(cases[i].text, &c) == CO_E_CONFIG, "%s", cases[i].text);
        CHECK_HAS(error_message(), cases[i].says);
        config_free(c);
    }
    c = config_new();
    CHECK(config_read_file(c, path_of("absent.ini")) == CO_E_CONFIG);
    CHECK_HAS(error_message(), "no file '");
    CHECK(config_read_file(c, dir) == CO_E_CONFIG);
    config_free(c);
    CHECK(fs_write_atomic(path_of("nul.ini"), "[a]\nk=\0\n", 8) == CO_OK);
    c = config_new();
    CHECK(config_read_file(c, path_of("nul.ini")) == CO_E_CONFIG);
    CHECK_HAS(error_message(), "nul.ini:2: a NUL byte");
    config_free(c);
}

/* 199 bytes are read, 200 are not; what is printed can be read again. */
static void test_long_lines(void)
{
    for (int n = 190; n <= 210; n++) {
        char text[512], value[256];
        config *c;
        memset(value, 'x', sizeof value);
        value[n - 4] = 0;
        snprintf(text, sizeof text, "[a]\nk = %s\nlast = 1\n", value);
        const int r = read_text(text, &c);
        CHECK_MSG(r == (n <= 199 ? CO_OK : CO_E_CONFIG), "%d bytes: %s", n, error_message());
        if (r) {
            snprintf(text, sizeof text, "t.ini:2: a line of %d bytes; at most 199 are read", n);
            CHECK_HAS(error_message(), text);
        } else {
            CHECK_STR(config_get(c, "a", "k"), value);
            CHECK_STR(config_get(c, "a", "last"), "1");
        }
        config_free(c);
    }
}

static void test_include(void)
{
    config *c;
    put("base.ini", "[run]\nseed = 1\noutput = base\n[include]\npath = deeper.ini\n");
    put("deeper.ini", "[run]\nseed = 0\nbackend = ref\n");
    CHECK(read_text("[include]\npath = base.ini\n[run]\nseed = 2\n", &c) == CO_OK);
    CHECK_STR(config_get(c, "run", "seed"), "2"); /* the including file has the last word, wherever the include stands */
    CHECK_STR(config_get(c, "run", "output"), "base");
    CHECK_STR(config_get(c, "run", "backend"), "ref");
    CHECK_HAS(config_where(c, "run", "seed"), "t.ini:4");
    CHECK_HAS(config_where(c, "run", "backend"), "deeper.ini:3");
    config_free(c);
}

static void test_overrides(void)
{
    static const char *const wrong[] = {"seed=1", "run.seed", "=1", ".seed=1", "run.=1", "run.seed=a ;b", "run.seed=a\nb"};
    config *c;
    CHECK(read_text("[run]\nseed = 1\n", &c) == CO_OK);
    CHECK(config_override(c, "run.seed= 2 ") == CO_OK && config_override(c, "dataset.eval.path=x=y") == CO_OK);
    CHECK_STR(config_get(c, "run", "seed"), "2");
    CHECK_STR(config_get(c, "dataset.eval", "path"), "x=y");
    CHECK_STR(config_where(c, "run", "seed"), "command line");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_MSG(config_override(c, wrong[i]) == CO_E_CONFIG, "%s", wrong[i]);
        CHECK_HAS(error_message(), wrong[i]);
    }
    config_free(c);
}

/* inih's own files: baseline_multi.txt says what Debian's build of it hands out for each. */
static void inih_file(const char *folder, const char *name, int error_line, const char *lines, size_t n)
{
    char section[128] = "", key[128] = "", value[512] = "", *path = mem_printf("%s/%s", folder, name);
    config *c = config_new();
    const int r = config_read_file(c, path);
    int repeated = strcmp(name, "duplicate_sections.ini") == 0; /* there inih knows no mistake, and we do */
    if (error_line > 0 || repeated) {
        char where[160];
        snprintf(where, sizeof where, "%s:%d: ", name, repeated ? 5 : error_line);
        CHECK_MSG(r == CO_E_CONFIG, "%s", name);
        CHECK_HAS(error_message(), where);
    } else {
        CHECK_MSG(r == CO_OK, "%s: %s", name, error_message());
        for (const char *p = lines, *end; p < lines + n; p = end + 1) { /* "... [section]", "... key=value;" */
            end = memchr(p, '\n', (size_t)(lines + n - p));
            const char *eq = memchr(p, '=', (size_t)(end - p)), *text = p + 4;
            if (*text == '[') {
                snprintf(section, sizeof section, "%.*s", (int)(end - text - 2), text + 1);
                key[0] = 0;
                continue;
            }
            if (!eq) continue;
            if (strncmp(key, text, (size_t)(eq - text)) == 0 && key[eq - text] == 0) { /* goes on */
                const size_t at = strlen(value);
                snprintf(value + at, sizeof value - at, " %.*s", (int)(end - eq - 2), eq + 1);
            } else {
                snprintf(key, sizeof key, "%.*s", (int)(eq - text), text);
                snprintf(value, sizeof value, "%.*s", (int)(end - eq - 2), eq + 1);
            }
            const char *got = config_get(c, section, key);
            const int last = end + 1 >= lines + n || strncmp(end + 5, key, strlen(key)) != 0;
            if (last) CHECK_MSG(got && strcmp(got, value) == 0, "%s: [%s] %s is \"%s\", want \"%s\"", name, section, key, got ? got : "", value);
        }
    }
    config_free(c);
    mem_free(path);
}

static void test_inih_files(void)
{
    const char *env = getenv("COATI_SHARED");
    char *folder = mem_printf("%s/data/ini/inih/tests", env && *env ? env : COATI_SOURCE_DIR "/../shared"), *path = fs_join(folder, "baseline_multi.txt"), *text = NULL;
    size_t len;
    int files = 0;
    if (!fs_is_file(path) || fs_read_all(path, &text, &len, 1 << 20) != CO_OK) {
        printf("skipped inih's files: the shared test data is not there\n");
    } else {
        const char *from = text;
        for (char *p = text, *end; (end = strchr(p, '\n')) != NULL; p = end + 1) {
            char name[128];
            int e = 0;
            *end = 0;
            if (p[0] != '.' && sscanf(p, "%127[^:]: e=%d", name, &e) == 2) { /* sums up the lines above */
                for (char *q = text; q < p; q++)
                    if (*q == 0) *q = '\n';
                if (strcmp(name, "user_error.ini") == 0) e = 0; /* their handler's mistake */
                if (e >= 0) inih_file(folder, name, e, from, (size_t)(p - from)), files++;
                from = end + 1;
            }
        }
        CHECK_MSG(files >= 10, "%d files of inih", files);
    }
    mem_free(text);
    mem_free(path);
    mem_free(folder);
}

static void test_out_of_memory(void)
{
    mem_counts before, after;
    int done = 0, n;
    put("t.ini", "[include]\npath = base.ini\n[a]\nk = ${COATI_T} one\n  two\n");
    mem_count(&before);
    for (n = 1; !done && n < 500; n++) {
        mem_fail_after(n);
        config *c = config_new();
        const int r = c ? config_read_file(c, path_of("t.ini")) : CO_E_NOMEM;
        mem_fail_after(0);
        CHECK_MSG(r == CO_OK || r == CO_E_NOMEM, "allocation %d: %d, %s", n, r, error_message());
        done = r == CO_OK;
        config_free(c);
        mem_count(&after);
        CHECK_MSG(after.live_bytes == before.live_bytes, "allocation %d leaks", n);
    }
    CHECK(done && n > 10);
}

int main(void)
{
    snprintf(dir, sizeof dir, "%s/tests/config-XXXXXX", COATI_BINARY_DIR);
    if (!mkdtemp(dir)) return perror(dir), 1;
    test_reads();
    test_mistakes();
    test_long_lines();
    test_include();
    test_overrides();
    test_inih_files();
    test_out_of_memory();
    fs_remove_tree(dir);
    return check_done();
}
