/* parquet_dump FILE...: the records of each file as JSON Lines, strings among the fields as JSON strings; for tests/golden/
 * compare_parquet.py. --time N FILE: only reads, N times; median seconds and bytes. Exit code 3 if a file or record is bad. */
#include "read.h"
#include "datasets/parquet/text.h"

#include <time.h>

static int dump(const char *path, int quiet, size_t *bytes)
{
    data d;
    int rc = open_data(path, 0, &d);
    if (rc) return rc;
    for (int64_t i = 0; i < d.n && !rc; i++) {
        co_field *f;
        uint32_t n;
        pq_fault fault;
        pq_text t = { .host = &fake_host, .arena = d.arena, .fault = &fault };
        rc = read_at(&d, i, &f, &n);
        for (uint32_t k = 0; k < n && !rc; k++) {
            *bytes += f[k].len;
            if (quiet) continue;
            rc = pq_text_char(&t, k ? ',' : '{') || pq_text_quoted(&t, f[k].name, strlen(f[k].name)) || pq_text_char(&t, ':') ||
                 (f[k].type == CO_FIELD_STR ? pq_text_quoted(&t, f[k].data, f[k].len) : pq_text_add(&t, f[k].data, f[k].len));
        }
        if (!rc && !quiet) printf("%s}\n", t.at);
    }
    shut(&d);
    return rc;
}

static int by_size(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

static int time_it(const char *path, int n)
{
    double s[99];
    size_t bytes = 0;
    if (n > 99) n = 99;
    for (int i = 0; i < n; i++) {
        struct timespec a, b;
        bytes = 0;
        clock_gettime(CLOCK_MONOTONIC, &a);
        if (dump(path, 1, &bytes)) return fprintf(stderr, "%s\n", error_message()), 3;
        clock_gettime(CLOCK_MONOTONIC, &b);
        s[i] = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    }
    qsort(s, (size_t)n, sizeof *s, by_size);
    printf("%.6f %zu\n", s[n / 2], bytes);
    return 0;
}

int main(int argc, char **argv)
{
    size_t bytes = 0;
    if (argc == 4 && !strcmp(argv[1], "--time") && atoi(argv[2]) > 0) return time_it(argv[3], atoi(argv[2]));
    for (int i = 1; i < argc; i++)
        if (dump(argv[i], 0, &bytes)) return fprintf(stderr, "%s\n", error_message()), 3;
    return 0;
}
