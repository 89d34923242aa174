/* opts.h: what a plugin may be configured with. The table is the whole story: the host reads the INI section,
 * rejects unknown keys with the nearest known one, parses defaults with the same parser as the file, checks
 * ranges and paths, and fills the plugin's options struct. `coati-inspect` prints the same table. */
#ifndef COATI_OPTS_H
#define COATI_OPTS_H
#include "abi.h"

typedef enum co_opt_type {   /* C type of the member at `offset`:                    */
    CO_OPT_BOOL,             /* int32_t, 0 or 1 (also yes/no, true/false, on/off)    */
    CO_OPT_INT,              /* int64_t                                              */
    CO_OPT_FLOAT,            /* double                                               */
    CO_OPT_BYTES,            /* int64_t; accepts 15GiB, 200MB, 1024                  */
    CO_OPT_STR,              /* const char *, lives as long as the plugin's object   */
    CO_OPT_PATH,             /* const char *, made absolute from the INI file's folder */
    CO_OPT_ENUM              /* int32_t, index into names                            */
} co_opt_type;

enum {
    CO_OPT_REQUIRED = 1u << 0,
    CO_OPT_DEPRECATED = 1u << 1,
    CO_OPT_FILE_EXISTS = 1u << 2
};

typedef struct co_opt {
    const char *key;          /* as written in the INI section                      */
    uint32_t type;            /* co_opt_type                                        */
    uint32_t offset;          /* into the plugin's own options struct               */
    uint32_t flags;
    const char *def;          /* default, as text                                   */
    double min, max;          /* inclusive; numbers and bytes; both 0: unlimited    */
    const char *const *names; /* ENUM: NULL-terminated                              */
    const char *help;         /* one sentence, with the unit                        */
} co_opt;

#define CO_OPT_END { NULL, CO_OPT_BOOL, 0, 0, NULL, 0, 0, NULL, NULL }
#endif
