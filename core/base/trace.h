/* trace.h: what the program did when, as a file that chrome://tracing and ui.perfetto.dev open (Trace Event Format, an array of
 * complete events). One file a process; its spans carry the rank as process number. [any thread] but open and close. */
#ifndef CORE_BASE_TRACE_H
#define CORE_BASE_TRACE_H
#include <coati/host.h>

int trace_open(const char *path, int rank); /* CO_E_IO names the file */
void trace_close(void);                     /* the file is whole from now on; without a close viewers open it all the same */
/* Nanoseconds on the clock of spans; 0: nothing is traced, and trace_end will do nothing. */
uint64_t trace_begin(void);
/* A span of this thread from `begin` until now. category: "unit", "comm", "data" …; a name may hold any text. */
void trace_end(uint64_t begin, const char *category, const char *fmt, ...) CO_PRINTF(3, 4);
extern const co_trace trace_services; /* for plugins: host->extension(CO_TRACE_ID) */
#endif
