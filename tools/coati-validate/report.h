/* report.h: the lines coati-validate prints, and a place the parent can read when the child has died: what was being tried. */
#ifndef TOOLS_COATI_VALIDATE_REPORT_H
#define TOOLS_COATI_VALIDATE_REPORT_H
#include <coati/abi.h>

typedef struct report_page { /* shared between the processes */
    char trying[200];
    int32_t ok, failed, skipped, finished;
    uint32_t n_features;
    char feature[200]; /* "model/llama: summary" */
} report_page;

int report_start(report_page **out); /* maps the page; once, before forking */
/* What is tried from here on; a check that ends well calls report_ok with it. */
void report_trying(const char *fmt, ...) CO_PRINTF(1, 2);
void report_ok(const char *fmt, ...) CO_PRINTF(1, 2);   /* one more check that passed, with a word about it */
void report_fail(const char *fmt, ...) CO_PRINTF(1, 2); /* one that did not: what is wrong, one line */
void report_skip(const char *fmt, ...) CO_PRINTF(1, 2); /* what cannot be checked, and why */
void report_note(const char *fmt, ...) CO_PRINTF(1, 2); /* worth knowing, neither good nor bad */
int report_failures(void);
#endif
