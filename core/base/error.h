/* error.h: one message per thread, set where the fact is known, passed up as a code. */
#ifndef CORE_BASE_ERROR_H
#define CORE_BASE_ERROR_H
#include <coati/abi.h>
#include <stdarg.h>

/* Records the message (replacing any earlier one of this thread) and returns `code`. */
int error_set(int code, const char *file, int line, const char *fmt, ...) CO_PRINTF(4, 5);
int error_setv(int code, const char *file, int line, const char *fmt, va_list ap);
/* Puts "prefix: " before the message that is there, for context learned further up. Returns `code`. */
int error_prefix(int code, const char *fmt, ...) CO_PRINTF(2, 3);
const char *error_message(void); /* "" if none; valid until this thread's next error */
const char *error_where(void);   /* "file:line" of the source that set it, for -v */
/* Copies this thread's message so that another thread can raise it again. */
void error_take(char *buf, size_t cap);
int error_exit_code(int code); /* co_status -> the exit code of interface.md */
/* What a plugin's function returned, made a status with a message: codes that do not exist become CO_E_ABI, and an error that
 * came without a word gets one. `what`: "the model's info()". Use through PLUGIN, which marks where this call's messages begin: an earlier one says nothing about it, and stays. */
int error_of_plugin(int code, const char *what);
void error_mark(void);
#define PLUGIN(what, call) (error_mark(), error_of_plugin((call), (what)))

#define FAIL(code, ...) error_set((code), __FILE__, __LINE__, __VA_ARGS__)
#endif
