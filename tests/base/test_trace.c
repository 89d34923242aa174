/* test_trace.c: the trace is JSON, its spans lie where they happened, threads are told apart, and without a trace nothing is written. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/base/trace.h"
#include "core/params/json.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *other(void *arg)
{
    (void)arg;
    const uint64_t inner = trace_begin();
    trace_end(inner, "data", "a \"quoted\" name\n\\ %d", 7);
    return NULL;
}

static void write_trace(const char *path, char **text)
{
    size_t len = 0;
    pthread_t thread;
    CHECK(trace_begin() == 0);
    trace_end(0, "unit", "before it is open");
    CHECK_MSG(trace_open(path, 3) == CO_OK, "%s", error_message());
    const uint64_t outer = trace_begin();
    CHECK(outer > 0 && pthread_create(&thread, NULL, other, NULL) == 0 && pthread_join(thread, NULL) == 0);
    usleep(2000);
    trace_services.end(outer, "unit", "outer");
    trace_close();
    trace_end(outer, "unit", "after it is closed");
    CHECK(fs_read_all(path, text, &len, 1 << 20) == CO_OK);
}

int main(void)
{
    char dir[] = "/tmp/coati-trace-XXXXXX";
    CHECK(mkdtemp(dir) != NULL);
    char *path = fs_join(dir, "trace.json"), *text = NULL;
    write_trace(path, &text);
    if (!text) return check_done();
    json_reader json;
    json_init(&json, path, text, strlen(text));
    int token;
    while ((token = json_next(&json)) > JSON_END) continue;
    CHECK_MSG(token == JSON_END, "%s", error_message());
    json_close(&json);
    CHECK(strstr(text, "before") == NULL && strstr(text, "after") == NULL);
    const char *inner = strstr(text, "a \\\"quoted\\\" name\\u000a\\\\ 7"), *outer = strstr(text, "\"outer\"");
    CHECK(inner && outer && inner < outer); /* in the order they ended */
    double at[2] = {0}, took[2] = {0};
    int thread[2] = {0};
    const char *const spans[2] = {inner, outer};
    for (int i = 0; i < 2 && inner && outer; i++) {
        const char *numbers = strstr(spans[i], "\"ph\":\"X\"");
        CHECK(numbers && sscanf(numbers, "\"ph\":\"X\",\"ts\":%lf,\"dur\":%lf,\"pid\":3,\"tid\":%d}", &at[i], &took[i], &thread[i]) == 3);
    }
    CHECK(at[1] <= at[0] && at[0] + took[0] <= at[1] + took[1] && took[1] >= 2000 && took[1] < 6e7); /* microseconds; inner within outer */
    CHECK(thread[0] != thread[1]);
    CHECK(trace_open("/proc/none/trace.json", 0) == CO_E_IO);
    CHECK_HAS(error_message(), "/proc/none/trace.json");
    if (access("/dev/full", W_OK) == 0) { /* a full disk ends the trace, not the run */
        CHECK(trace_open("/dev/full", 0) == CO_OK);
        for (int i = 0; i < 20000; i++) trace_end(trace_begin(), "unit", "span %d", i);
        CHECK(trace_begin() == 0);
        trace_close();
    }
    mem_free(text);
    CHECK(unlink(path) == 0 && rmdir(dir) == 0);
    mem_free(path);
    return check_done();
}
