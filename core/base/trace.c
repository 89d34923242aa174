#include "core/base/trace.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *file;       /* under lock */
static atomic_int on;    /* read without it: spans cost one load where nothing is traced */
static int rank_of_file;
static uint64_t start;
static uint64_t named; /* under lock: a bit each track of a device that has its name in the file */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Small numbers in the order threads are first seen. */
static int thread_number(void)
{
    static atomic_int seen;
    static _Thread_local int mine;
    if (!mine) mine = atomic_fetch_add(&seen, 1) + 1;
    return mine;
}

int trace_open(const char *path, int rank)
{
    FILE *f = fopen(path, "w");
    if (!f) return FAIL(CO_E_IO, "%s: the trace cannot be written: %s", path, strerror(errno));
    fprintf(f, "[\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%d,\"args\":{\"name\":\"rank %d\"}}", rank, rank);
    pthread_mutex_lock(&lock);
    file = f;
    rank_of_file = rank;
    start = now_ns();
    named = 0;
    pthread_mutex_unlock(&lock);
    atomic_store(&on, 1);
    return CO_OK;
}

/* The run goes on without its trace: a full disk must not end it. */
static void finish(int failed)
{
    if (!file) return;
    atomic_store(&on, 0);
    if (!failed && fputs("\n]\n", file) < 0) failed = 1;
    if (fclose(file) != 0) failed = 1;
    file = NULL;
    if (failed) log_line(CO_LOG_WARN, "trace", "the trace ends early: %s", strerror(errno));
}

void trace_close(void)
{
    pthread_mutex_lock(&lock);
    finish(0);
    pthread_mutex_unlock(&lock);
}

uint64_t trace_begin(void) { return atomic_load_explicit(&on, memory_order_relaxed) ? now_ns() : 0; }

static void put_text(const char *s)
{
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') fputc('\\', file);
        if ((unsigned char)*s < 0x20) fprintf(file, "\\u%04x", *s);
        else fputc(*s, file);
    }
}

static void put(uint64_t begin, uint64_t end, int thread, const char *category, const char *name)
{
    pthread_mutex_lock(&lock);
    if (file && begin >= start && end >= begin) { /* microseconds, with the nanoseconds behind the point */
        const uint64_t at = begin - start, took = end - begin;
        fputs(",\n{\"name\":\"", file);
        put_text(name);
        fputs("\",\"cat\":\"", file);
        put_text(category);
        fprintf(file, "\",\"ph\":\"X\",\"ts\":%llu.%03u,\"dur\":%llu.%03u,\"pid\":%d,\"tid\":%d}", (unsigned long long)(at / 1000), (unsigned)(at % 1000),
                (unsigned long long)(took / 1000), (unsigned)(took % 1000), rank_of_file, thread);
        if (ferror(file)) finish(1);
    }
    pthread_mutex_unlock(&lock);
}

void trace_end(uint64_t begin, const char *category, const char *fmt, ...)
{
    char name[128];
    va_list ap;
    if (!begin) return;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    put(begin, now_ns(), thread_number(), category, name);
}

static void end_named(uint64_t begin, const char *category, const char *name)
{
    if (begin) put(begin, now_ns(), thread_number(), category, name);
}

/* A device's tracks come behind the threads, each with its name before its first span. */
#define FIRST_TRACK 1000
static void put_span(uint64_t begin, uint64_t end, uint32_t track, const char *category, const char *name)
{
    pthread_mutex_lock(&lock);
    if (file && track < 64 && !(named >> track & 1)) {
        fprintf(file, ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":%u,\"args\":{\"name\":\"device, stream %u\"}}", rank_of_file, FIRST_TRACK + track, track);
        named |= (uint64_t)1 << track;
    }
    pthread_mutex_unlock(&lock);
    put(begin, end, (int)(FIRST_TRACK + track), category, name);
}
const co_trace trace_services = {.struct_size = sizeof trace_services, .begin = trace_begin, .end = end_named, .span = put_span};
