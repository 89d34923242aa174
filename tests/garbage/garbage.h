/* garbage.h: which piece of garbage is wanted. Included before the guide's plugin, whose table is then changed. */
#include <coati/coati.h>
#include <stdlib.h>
#include <string.h>

static int garbage(const char *what)
{
    const char *wanted = getenv("COATI_GARBAGE");
    return wanted && strcmp(wanted, what) == 0;
}

/* Codes every function can return: one that does not exist, and an error without a word. 0: none is wanted. */
static int code(const char *function)
{
    const char *wanted = getenv("COATI_GARBAGE");
    const size_t n = strlen(function);
    if (!wanted || strncmp(wanted, function, n) != 0 || wanted[n] != ':') return 0;
    return strcmp(wanted + n, ":code") == 0 ? 42 : strcmp(wanted + n, ":low") == 0 ? -77 : strcmp(wanted + n, ":mute") == 0 ? CO_E_DEVICE : 0;
}
#define CODE(function)                                                                                        \
    do {                                                                                                      \
        const int code_ = code(function);                                                                     \
        if (code_) return code_;                                                                              \
    } while (0)

#undef CO_PLUGIN_ONE
#define CO_PLUGIN_ONE(kind, name, summary, opts, opts_type, vt, vendor, version, license) extern int garbage_follows
#define GARBAGE_PLUGIN(kind_, name_, opts_, opts_type, table)                                                  \
    static const co_feature one_feature = {.struct_size = sizeof one_feature, .kind = kind_, .name = name_, .summary = "garbage", .opts = opts_, \
                                           .opts_size = sizeof(opts_type), .vt = &table};                     \
    static const co_feature *const one_list[] = {&one_feature, NULL};                                         \
    static const co_plugin one = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof one, .name = name_, .vendor = "", .version = "1", \
                                  .license = "", .url = "", .features = one_list};                            \
    CO_PLUGIN(one)
