/* report.html: every element closed, every text escaped, the numbers of metrics.jsonl in it, and whole or absent. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/train/report.h"

#include <unistd.h>

static char dir[64], metrics_path[96], page_path[96];

static void write_metrics(const char *text) { CHECK(fs_write_atomic(metrics_path, text, strlen(text)) == CO_OK); }

static char *write_page(const report_facts *f)
{
    char *text = NULL;
    size_t n;
    int rc = report_write(dir, f);
    CHECK_MSG(rc == CO_OK, "%s", error_message());
    if (rc == CO_OK) CHECK(fs_read_all(page_path, &text, &n, 1 << 24) == CO_OK && strlen(text) == n);
    return text;
}

/* XML's rules as far as a page of ours needs them: tags pair up, entities are known, no loose '<'. */
static void check_well_formed(const char *p)
{
    static char open[64][16];
    int depth = 0, roots = 0;
    CHECK(!strncmp(p, "<!DOCTYPE html>\n", 16));
    for (p += 16; *p;) {
        char name[16] = "";
        if (*p == '&') {
            int known = 0;
            for (const char *const *e = (const char *const[]){ "&amp;", "&lt;", "&gt;", "&quot;", NULL }; *e; e++)
                known |= !strncmp(p, *e, strlen(*e));
            CHECK_MSG(known, "%.20s", p);
        }
        if (*p++ != '<') continue;
        const int closing = *p == '/';
        const char *end = p + closing;
        sscanf(end, "%15[a-z0-9]", name);
        CHECK_MSG(name[0], "%.20s", p);
        int quoted = 0;
        for (; *end && (quoted || *end != '>'); end++) {
            quoted ^= *end == '"';
            CHECK(*end != '<');
        }
        CHECK(*end == '>' && !quoted);
        if (!*end) return;
        if (closing) {
            CHECK_MSG(depth > 0 && !strcmp(open[depth - 1], name), "</%s>", name);
            depth -= depth > 0;
        } else if (end[-1] != '/') {
            roots += !depth;
            CHECK(depth < 63);
            snprintf(open[depth++], sizeof open[0], "%s", name);
        }
        p = end + 1;
    }
    CHECK(depth == 0 && roots == 1);
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, part)) != NULL; p += strlen(part)) n++;
    return n;
}

static void test_page(void)
{
    static const report_row data[] = { { "path", "a<b>&\"c\".json" } }, machine[] = { { "system", "Linux\x01" } };
    static const report_answer answers[] = { { "1 < 2?", "yes & no", "two\nlines" }, { "again", "", "<b>" } };
    const report_facts f = { .answers = answers, .n_answers = 2, .title = "out/<sft>", .config = "[run]\nseed = 42 & more\n", .plan = "total 12 < 13\n", .data = data, .n_data = 1,
                             .environment = machine, .n_environment = 1 };
    write_metrics("{\"step\":1,\"epoch\":0.5,\"loss\":3.5,\"lr\":0.1,\"grad_norm\":1,\"tokens\":100,\"tokens_per_s\":50.0,\"step_s\":2.0}\n"
                  "{\"step\":2,\"epoch\":1,\"loss\":null,\"lr\":0.1,\"grad_norm\":1,\"tokens\":100,\"tokens_per_s\":50.0,\"step_s\":2.0}\n"
                  "{\"step\":2,\"epoch\":1,\"eval_loss\":3.25,\"eval_perplexity\":25.79,\"eval_tokens\":9,\"eval_samples\":1}\n"
                  "{\"step\":3,\"epoch\":1.5,\"loss\":1.23456,\"lr\":0,\"grad_norm\":1,\"tokens\":100,\"tokens_per_s\":50.0,\"step_s\":2.0}\n");
    char *page = write_page(&f);
    if (!page) return;
    check_well_formed(page);
    CHECK_HAS(page, "<b>1.2346</b><span>last loss");
    CHECK_HAS(page, "<b>3.2500</b><span>held-out loss");
    CHECK_HAS(page, "<b>3</b><span>steps");
    CHECK_HAS(page, "<b>50</b><span>tokens a second");
    CHECK_HAS(page, "out/&lt;sft&gt;");
    CHECK_HAS(page, "a&lt;b&gt;&amp;&quot;c&quot;.json");
    CHECK_HAS(page, "seed = 42 &amp; more");
    CHECK_HAS(page, "total 12 &lt; 13");
    CHECK_HAS(page, "<tr><td>1 &lt; 2?</td><td>yes &amp; no</td><td>two\nlines</td></tr>\n<tr><td>again</td><td></td><td>&lt;b&gt;</td></tr>");
    CHECK(count(page, "<svg") == 4 && !strstr(page, "\x01"));
    CHECK(!strstr(page, "http") && !strstr(page, "nan") && !strstr(page, "inf\"")); /* stands alone; draws numbers only */
    mem_free(page);
}

static void test_long_run(void)
{
    size_t n = 0, cap = 4 << 20;
    char *text = mem_alloc(cap, 1), *page;
    for (int i = 1; i <= 20000; i++)
        n += (size_t)snprintf(text + n, cap - n, "{\"step\":%d,\"loss\":%.3f,\"reward\":-0.5,\"kl\":1e-9}\n", i, 5.0 / i + 0.1 * (i % 3));
    write_metrics(text);
    page = write_page(&(report_facts){ .title = "long" });
    if (page) {
        check_well_formed(page);
        CHECK(strlen(page) < 100000 && count(page, "<svg") == 3);
        CHECK_HAS(page, "<title>kl</title>");
    }
    mem_free(page);
    mem_free(text);
}

static void test_nothing(void)
{
    write_metrics("");
    char *page = write_page(&(report_facts){ .title = "no step was logged" });
    if (page) check_well_formed(page);
    mem_free(page);
    write_metrics("{\"step\":1,\"loss\":\n");
    CHECK(report_write(dir, &(report_facts){ .title = "broken" }) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "metrics.jsonl");
}

static void test_memory(void)
{
    mem_counts before, after;
    int rc = CO_E_NOMEM;
    write_metrics("{\"step\":1,\"loss\":1.5}\n");
    mem_count(&before);
    for (int64_t k = 1; rc; k++) {
        fs_remove_tree(page_path);
        mem_fail_after(k);
        rc = report_write(dir, &(report_facts){ .title = "t", .config = "c" });
        mem_fail_after(0);
        CHECK(rc == CO_OK || rc == CO_E_NOMEM);
        CHECK(fs_is_file(page_path) == !rc);
    }
    mem_count(&after);
    CHECK(before.live_bytes == after.live_bytes);
}

int main(void)
{
    snprintf(dir, sizeof dir, "train_report_%ld.tmp", (long)getpid());
    snprintf(metrics_path, sizeof metrics_path, "%s/metrics.jsonl", dir);
    snprintf(page_path, sizeof page_path, "%s/report.html", dir);
    CHECK(fs_mkdirs(dir) == CO_OK);
    test_page();
    test_long_run();
    test_nothing();
    test_memory();
    CHECK(fs_remove_tree(dir) == CO_OK);
    return check_done();
}
