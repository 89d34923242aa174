/* value.h: what expressions give. Values are copied; lists and dicts are shared by pointer, as in Python. */
#ifndef CORE_DATA_TEMPLATES_JINJA_VALUE_H
#define CORE_DATA_TEMPLATES_JINJA_VALUE_H
#include "core/data/templates/jinja/node.h"

typedef enum value_kind { V_UNDEFINED = 0, V_NONE, V_BOOL, V_INT, V_STR, V_LIST, V_DICT, V_NAMESPACE } value_kind;

typedef struct value_list value_list;
typedef struct value_dict value_dict;
typedef struct value {
    int32_t kind, pad;
    union { int64_t i; struct { const char *p; size_t n; } s; value_list *list; value_dict *dict; } u;
    const char *why; /* V_UNDEFINED: the name, for messages; NULL: unknown */
} value;
struct value_list { value *v; size_t n, cap; };
struct value_dict { value_list keys, values; }; /* in order; keys are strings */

typedef struct machine {
    co_arena *a;
    struct binding { const char *s; size_t len; value v; } *names; /* the last of a name counts */
    size_t n_names, cap_names;
    char *out;
    size_t len, cap;
    size_t work;   /* steps and bytes left */
    int rc, flow;  /* the first error; FLOW_* */
} machine;
enum { FLOW_ON = 0, FLOW_BREAK, FLOW_CONTINUE };

value value_str(const char *p, size_t n);
value value_int(int64_t i);
value value_bool(int b);
int value_truth(const value *v);
int value_equal(const value *a, const value *b);
const char *value_type(const value *v); /* "a string", for messages */
/* Append, and set a key: copies into the arena as they grow. */
int list_add(machine *m, value_list *l, value v);
value list_new(machine *m, size_t cap);
value dict_new(machine *m);
int dict_set(machine *m, value_dict *d, value key, value v);
const value *dict_find(const value_dict *d, const char *s, size_t n);
int value_text(machine *m, const value *v, value *out); /* str(v) */
/* Takes n units of the bound on work; 0 and an error when there are none left. */
int spend(machine *m, int line, size_t n);
value give_up(machine *m, int rc); /* notes the error, gives undefined */
value concat_values(machine *m, int line, const value *a, const value *b);

typedef struct call_args { const value *v; size_t n; const node *names; } call_args; /* names: the argument nodes, for keywords */
value call_method(machine *m, const node *n, const value *self, const call_args *a);
value call_filter(machine *m, const node *n, const value *self, const call_args *a);
value call_function(machine *m, const node *n, const call_args *a);
int run_test(machine *m, const node *n, const value *v);
#endif
