/* report.c: the page. Every element is closed and every text escaped, so that it also reads as XML. */
#include "core/train/report.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char style[] =
    ":root{--ink:#1d2733;--soft:#6b7a8c;--line:#d9e0e8;--card:#fff;--page:#f4f6f9;--main:#1769aa;--raw:#9cc3e2;--other:#d2691e}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6ebf1;--soft:#93a1b2;--line:#2f3b49;--card:#1a222c;--page:#11171e;--main:#5fb2f0;"
    "--raw:#2f5878;--other:#f0a35f}}"
    "body{margin:0 auto;max-width:1340px;padding:24px;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}"
    "h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:28px 0 8px}p{margin:0;color:var(--soft)}"
    ".row{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr))}"
    ".cards{display:flex;flex-wrap:wrap;gap:12px;margin-top:16px}"
    ".card,svg,pre,table{background:var(--card);border:1px solid var(--line);border-radius:8px}"
    ".card{padding:8px 16px;min-width:110px}.card b{display:block;font-size:20px;font-variant-numeric:tabular-nums}"
    ".card span{color:var(--soft);font-size:13px}svg{width:100%;height:auto;display:block}"
    "pre{padding:12px 16px;overflow-x:auto;font:13px/1.45 ui-monospace,monospace;margin:0}"
    "table{border-spacing:0;width:100%}td{padding:5px 16px;border-top:1px solid var(--line);vertical-align:top}"
    "tr:first-child td{border-top:0}td:first-child{color:var(--soft);white-space:nowrap}td+td{text-align:right;word-break:break-word}"
    ".say td{width:33%;text-align:left;white-space:pre-wrap;color:var(--ink)}.say tr:first-child td{color:var(--soft)}"
    ".axis line{stroke:var(--line)}.axis text{fill:var(--soft);font-size:11px}.title{fill:var(--ink);font-size:14px;font-weight:600}"
    "polyline{fill:none;stroke-width:1.6;stroke-linejoin:round}.raw{stroke:var(--raw)}.mean{stroke:var(--main)}"
    "polyline.other{stroke:var(--other)}circle.other{fill:var(--other)}";

static void card(html *h, const char *name, const char *value)
{
    html_raw(h, "<div class=\"card\"><b>");
    html_text(h, value);
    html_raw(h, "</b><span>");
    html_text(h, name);
    html_raw(h, "</span></div>\n");
}

static void number_card(html *h, const series_set *s, const char *column, const char *name, const char *fmt)
{
    char value[64];
    const series *v = series_find(s, column);
    if (!v) return;
    snprintf(value, sizeof value, fmt, v->points[v->n - 1].value);
    card(h, name, value);
}

static double sum(const series *v)
{
    double total = 0;
    for (size_t i = 0; v && i < v->n; i++) total += v->points[i].value;
    return total;
}

static void cards(html *h, const series_set *s)
{
    char value[64];
    const double seconds = sum(series_find(s, "step_s")), tokens = sum(series_find(s, "tokens"));
    html_raw(h, "<div class=\"cards\">\n");
    snprintf(value, sizeof value, "%.0f", s->last_step);
    card(h, "steps", value);
    number_card(h, s, "loss", "last loss", "%.4f");
    number_card(h, s, "eval_loss", "held-out loss", "%.4f");
    number_card(h, s, "eval_perplexity", "held-out perplexity", "%.3f");
    number_card(h, s, "acc", "accuracy", "%.3f");
    number_card(h, s, "reward", "reward", "%.4f");
    snprintf(value, sizeof value, "%.0f", tokens);
    card(h, "tokens of logged steps", value);
    if (seconds > 0) {
        snprintf(value, sizeof value, "%.0f", tokens / seconds);
        card(h, "tokens a second", value);
        snprintf(value, sizeof value, "%d:%02d:%02d", (int)(seconds / 3600), (int)(seconds / 60) % 60, (int)seconds % 60);
        card(h, "in logged steps", value);
    }
    html_raw(h, "</div>\n");
}

static int plain(const char *name) /* not worth a curve, or drawn with another */
{
    static const char *const names[] = {"epoch", "step_s", "tokens", "samples", "eval_loss", "eval_perplexity", "eval_tokens",
                                        "eval_samples", "mem_device_bytes", "mem_host_bytes", "loss", "lr", "grad_norm", "tokens_per_s"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i])) return 1;
    return 0;
}

static void charts(html *h, const series_set *s)
{
    static const char *const first[][2] = {{"loss", "loss"}, {"lr", "learning rate"}, {"grad_norm", "gradient norm"}, {"tokens_per_s", "tokens a second"}};
    html_raw(h, "<h2>Curves</h2>\n<div class=\"row\">\n");
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        const series *v = series_find(s, first[i][0]), *held_out = i ? NULL : series_find(s, "eval_loss");
        if (v) chart_draw(h, held_out ? "loss, held-out loss" : first[i][1], v, held_out);
    }
    for (size_t i = 0; i < s->n; i++)
        if (!plain(s->all[i].name) && s->all[i].n) chart_draw(h, s->all[i].name, &s->all[i], NULL);
    html_raw(h, "</div>\n");
}

static void table(html *h, const char *title, const report_row *rows, size_t n)
{
    html_raw(h, "<div><h2>%s</h2>\n<table>\n", title);
    for (size_t i = 0; i < n; i++) {
        html_raw(h, "<tr><td>");
        html_text(h, rows[i].name);
        html_raw(h, "</td><td>");
        html_text(h, rows[i].value);
        html_raw(h, "</td></tr>\n");
    }
    html_raw(h, "</table></div>\n");
}

static void block(html *h, const char *title, const char *text)
{
    if (!text) return;
    html_raw(h, "<div><h2>%s</h2>\n<pre>", title);
    html_text(h, text);
    html_raw(h, "</pre></div>\n");
}

static void answers(html *h, const report_answer *a, size_t n)
{
    if (n == 0) return;
    html_raw(h, "<h2>Answers</h2>\n<table class=\"say\">\n<tr><td>prompt</td><td>in the data</td><td>the model, greedy</td></tr>\n");
    for (size_t i = 0; i < n; i++) {
        const char *const cells[] = {a[i].prompt, a[i].wanted, a[i].got};
        html_raw(h, "<tr>");
        for (int k = 0; k < 3; k++) {
            html_raw(h, "<td>");
            html_text(h, cells[k]);
            html_raw(h, "</td>");
        }
        html_raw(h, "</tr>\n");
    }
    html_raw(h, "</table>\n");
}

static void page(html *h, const report_facts *f, const series_set *s)
{
    char when[64];
    const time_t t = time(NULL);
    struct tm tm;
    strftime(when, sizeof when, "%Y-%m-%d %H:%M UTC", gmtime_r(&t, &tm));
    html_raw(h, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>coati: ");
    html_text(h, f->title);
    html_raw(h, "</title>\n<style>%s</style>\n</head>\n<body>\n<h1>", style);
    html_text(h, f->title);
    html_raw(h, "</h1>\n<p>written by coati, %s</p>\n", when);
    cards(h, s);
    charts(h, s);
    answers(h, f->answers, f->n_answers);
    html_raw(h, "<div class=\"row\">\n");
    if (f->n_data) table(h, "Data", f->data, f->n_data);
    if (f->n_environment) table(h, "Environment", f->environment, f->n_environment);
    html_raw(h, "</div>\n<div class=\"row\">\n");
    block(h, "Memory plan", f->plan);
    block(h, "Configuration", f->config);
    html_raw(h, "</div>\n</body>\n</html>\n");
}

int report_write(const char *output, const report_facts *f)
{
    series_set s = {0};
    char *from = fs_join(output, "metrics.jsonl"), *to = fs_join(output, "report.html");
    html *h = html_new();
    int r = from && to && h ? series_read(from, &s) : CO_E_NOMEM;
    if (r == CO_OK) {
        size_t n;
        page(h, f, &s);
        const char *text = html_done(h, &n);
        r = text ? fs_write_atomic(to, text, n) : CO_E_NOMEM;
        series_free(&s);
    }
    html_free(h);
    mem_free(to);
    mem_free(from);
    return r;
}
