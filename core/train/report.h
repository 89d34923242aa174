/* report.h: report.html, one page that stands alone: what the run was, its curves, its data and its memory. */
#ifndef CORE_TRAIN_REPORT_H
#define CORE_TRAIN_REPORT_H
#include <stddef.h>
#include <stdint.h>

typedef struct report_row { const char *name; char value[160]; } report_row;
typedef struct report_answer { const char *prompt, *wanted, *got; } report_answer;
typedef struct report_facts {
    const char *title, *config, *plan; /* texts as they are; config and plan may be NULL */
    const report_row *data, *environment;
    size_t n_data, n_environment;
    const report_answer *answers; /* of the model as it is now */
    size_t n_answers;
} report_facts;

/* Draws what output/metrics.jsonl holds, so that a resumed run's page shows all of it, and writes
 * output/report.html whole. */
int report_write(const char *output, const report_facts *f);

/* ---- report_series.c: the columns of metrics.jsonl ------------------------------------------------------------- */
typedef struct series_point { double step, value; } series_point;
typedef struct series {
    char name[64];
    series_point *points; /* finite values only */
    size_t n, cap;
    double last; /* NaN when the last line had none */
} series;
typedef struct series_set { series *all; size_t n; double last_step; } series_set;

int series_read(const char *path, series_set *out);
void series_free(series_set *s);
const series *series_find(const series_set *s, const char *name); /* NULL: no such column, or no number in it */

/* ---- report_chart.c: a line chart as inline SVG ------------------------------------------------------------------ */
typedef struct html html; /* a text that grows; the first failure sticks */
html *html_new(void);
void html_free(html *h);
void html_raw(html *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void html_text(html *h, const char *s); /* escaped */
const char *html_done(html *h, size_t *n); /* NULL: out of memory */
/* `main` as a line with its running mean; `other` as dots with a line, may be NULL. */
void chart_draw(html *h, const char *title, const series *main, const series *other);
#endif
