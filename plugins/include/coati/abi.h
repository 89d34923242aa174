/* abi.h: versions, presence test, status codes and the magic every plugin starts with.
 *
 * Rules in force in all headers of this folder: `struct_size` is the first member of every struct that
 * crosses the boundary; layouts only ever grow at the end; functions return `co_status` as int unless said
 * otherwise; a table member may be NULL only where its comment says *optional*; text is UTF-8; no C++ types,
 * no `long`, no bit-fields, no `bool`, no enum-typed members. Plugin code does not exit, abort, print, fork,
 * change signal handlers, the locale or the environment.
 * Thread tags: [main] the host's main thread, [loader] data threads (one call per object at a time),
 * [any] any thread at any time. */
#ifndef COATI_ABI_H
#define COATI_ABI_H
#include <stddef.h>
#include <stdint.h>

#define CO_ABI_MAJOR 1u           /* breaks binaries; part of the entry symbol's name            */
#define CO_ABI_MINOR 0u           /* grows by appending members and op or extension ids only     */
#define CO_ENTRY_SYMBOL "coati_plugin_v1"
#define CO_MAGIC 0x49544F43u      /* "COTI" */

/* True if the peer's table is long enough to hold `m` and filled it in. */
#define CO_HAS(T, p, m) ((p)->struct_size >= offsetof(T, m) + sizeof((p)->m) && (p)->m != NULL)

typedef enum co_status { /* 0 ok, <0 error, >0 expected non-errors */
    CO_OK = 0,
    CO_END = 1,
    CO_E_INVALID = -1,     /* a caller's mistake                                    */
    CO_E_CONFIG = -2,      /* command line or INI file            -> exit code 2    */
    CO_E_NOMEM = -3,       /* memory or disk does not suffice     -> exit code 4    */
    CO_E_IO = -4,          /* reading or writing failed           -> exit code 1    */
    CO_E_FORMAT = -5,      /* input data or a model file is bad   -> exit code 3    */
    CO_E_UNSUPPORTED = -6, /* understood, and not offered         -> exit code 2    */
    CO_E_DEVICE = -7,
    CO_E_COMM = -8,
    CO_E_ABI = -9,         /* a plugin does not fit this host     -> exit code 2    */
    CO_E_STATE = -10       /* called in the wrong order                             */
} co_status;

typedef enum co_kind {
    CO_KIND_BACKEND = 1,
    CO_KIND_COMM,
    CO_KIND_STRATEGY,
    CO_KIND_OPTIMIZER,
    CO_KIND_MODEL,
    CO_KIND_TOKENIZER,
    CO_KIND_DATASET,
    CO_KIND_LOSS
} co_kind;

/* Checked member by member before anything else of a plugin is read, each with its own message. */
typedef struct co_magic {
    uint32_t magic;
    uint16_t abi_major, abi_minor; /* headers the plugin was built with */
    uint16_t abi_minor_required;   /* oldest host minor it can live with */
    uint16_t pointer_size, max_dims, opt_stride;
    char built_with[48]; /* compiler and project version, for the log only */
} co_magic;

#if defined(__GNUC__)
#define CO_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define CO_EXPORT __attribute__((visibility("default")))
#else
#define CO_PRINTF(f, a)
#define CO_EXPORT
#endif
#endif
