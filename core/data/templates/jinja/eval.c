#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/data/templates/jinja/value.h"
#include <string.h>

enum { WORK = 1 << 20, MAX_ARGS = 8 }; /* steps and bytes a probe may take; published templates need thousands */

static value eval(machine *m, const node *n);

static value fail_type(machine *m, const node *n, const char *what, const value *v)
{
    if (m->rc) return (value){0};
    if (v->kind == V_UNDEFINED && v->why) return give_up(m, FAIL(CO_E_UNSUPPORTED, "line %d: \"%.40s\" is not defined here", n->line, v->why));
    return give_up(m, FAIL(CO_E_UNSUPPORTED, "line %d: %s of %s", n->line, what, value_type(v)));
}

static struct binding *lookup(const machine *m, const char *s, size_t len)
{
    for (size_t i = m->n_names; i-- > 0;)
        if (m->names[i].len == len && memcmp(m->names[i].s, s, len) == 0) return &m->names[i];
    return NULL;
}

static void bind(machine *m, const char *s, size_t len, value v)
{
    if (m->n_names == m->cap_names) {
        const size_t cap = m->cap_names ? 2 * m->cap_names : 16;
        struct binding *more = arena_push(m->a, cap * sizeof *more, 16);
        if (!more) {
            (void)give_up(m, CO_E_NOMEM);
            return;
        }
        if (m->n_names) memcpy(more, m->names, m->n_names * sizeof *more);
        m->names = more;
        m->cap_names = cap;
    }
    m->names[m->n_names++] = (struct binding){s, len, v};
}

static value member(machine *m, const node *n, const value *of, const char *s, size_t len)
{
    if (of->kind == V_DICT || of->kind == V_NAMESPACE) {
        const value *v = dict_find(of->u.dict, s, len);
        return v ? *v : (value){.why = arena_strndup(m->a, s, len)};
    }
    if (of->kind == V_UNDEFINED) return fail_type(m, n, "a member", of);
    return (value){.why = arena_strndup(m->a, s, len)};
}

static value index_value(machine *m, const node *n, const value *of, const value *at)
{
    if (at->kind == V_STR) return member(m, n, of, at->u.s.p, at->u.s.n);
    if (of->kind == V_LIST && at->kind == V_INT) {
        const int64_t count = (int64_t)of->u.list->n, i = at->u.i < 0 ? at->u.i + count : at->u.i;
        return i >= 0 && i < count ? of->u.list->v[i] : (value){.why = "an element beyond a list's end"};
    }
    return fail_type(m, n, "an index", of->kind == V_LIST ? at : of);
}

static value slice(machine *m, const node *n, const value *of)
{
    int64_t from = 0, to;
    const node *ends[2] = {n->b, n->c};
    if (of->kind != V_LIST) return fail_type(m, n, "a slice", of);
    const int64_t count = (int64_t)of->u.list->n;
    to = count;
    for (int k = 0; k < 2; k++) {
        if (!ends[k]) continue;
        value v = eval(m, ends[k]);
        if (v.kind == V_NONE) continue;
        if (v.kind != V_INT) return fail_type(m, n, "a slice's end", &v);
        int64_t i = v.u.i < 0 ? v.u.i + count : v.u.i;
        i = i < 0 ? 0 : i > count ? count : i;
        if (k) to = i;
        else from = i;
    }
    value out = list_new(m, to > from ? (size_t)(to - from) : 0);
    for (int64_t i = from; i < to && !m->rc; i++) (void)list_add(m, out.u.list, of->u.list->v[n->i < 0 ? to - 1 - (i - from) : i]);
    return out;
}

static int contains(machine *m, const node *n, const value *what, const value *in)
{
    if (in->kind == V_LIST) {
        for (size_t i = 0; i < in->u.list->n; i++)
            if (value_equal(what, &in->u.list->v[i])) return 1;
        return 0;
    }
    if (in->kind == V_DICT && what->kind == V_STR) return dict_find(in->u.dict, what->u.s.p, what->u.s.n) != NULL;
    if (in->kind == V_STR && what->kind == V_STR) {
        for (size_t i = 0; i + what->u.s.n <= in->u.s.n; i++)
            if (!what->u.s.n || memcmp(in->u.s.p + i, what->u.s.p, what->u.s.n) == 0) return 1;
        return 0;
    }
    (void)fail_type(m, n, "\"in\"", in);
    return 0;
}

static value arithmetic(machine *m, const node *n, const value *a, const value *b)
{
    const int numbers = (a->kind == V_INT || a->kind == V_BOOL) && (b->kind == V_INT || b->kind == V_BOOL);
    const int64_t x = a->u.i, y = b->u.i;
    int64_t r = 0;
    int bad = 0;
    if (n->i == OP_ADD && a->kind == V_STR && b->kind == V_STR) return concat_values(m, n->line, a, b);
    if (n->i == OP_ADD && a->kind == V_LIST && b->kind == V_LIST) {
        value out = list_new(m, a->u.list->n + b->u.list->n);
        for (size_t i = 0; i < a->u.list->n && !m->rc; i++) (void)list_add(m, out.u.list, a->u.list->v[i]);
        for (size_t i = 0; i < b->u.list->n && !m->rc; i++) (void)list_add(m, out.u.list, b->u.list->v[i]);
        return out;
    }
    if (!numbers) return fail_type(m, n, "arithmetic", a->kind == V_STR || a->kind == V_INT ? b : a);
    switch (n->i) {
    case OP_ADD: bad = __builtin_add_overflow(x, y, &r); break;
    case OP_SUB: bad = __builtin_sub_overflow(x, y, &r); break;
    case OP_MUL: bad = __builtin_mul_overflow(x, y, &r); break;
    default:
        bad = y == 0 || (y == -1 && x == INT64_MIN);
        if (bad) break;
        r = n->i == OP_MOD ? x % y : x / y;
        if (x % y != 0 && (x < 0) != (y < 0)) r += n->i == OP_MOD ? y : -1; /* as Python rounds */
    }
    if (bad) return give_up(m, FAIL(CO_E_UNSUPPORTED, "line %d: a division by zero, or a number too large", n->line));
    return value_int(r);
}

static value binary(machine *m, const node *n)
{
    value a = eval(m, n->a), b = eval(m, n->b);
    if (m->rc) return a;
    switch (n->i) {
    case OP_EQ: case OP_NE: return value_bool(value_equal(&a, &b) == (n->i == OP_EQ));
    case OP_IN: case OP_NOT_IN: return value_bool(contains(m, n, &a, &b) == (n->i == OP_IN));
    case OP_CONCAT:
        if (value_text(m, &a, &a) || value_text(m, &b, &b)) return (value){0};
        return concat_values(m, n->line, &a, &b);
    case OP_LT: case OP_LE: case OP_GT: case OP_GE:
        if ((a.kind != V_INT && a.kind != V_BOOL) || (b.kind != V_INT && b.kind != V_BOOL)) return fail_type(m, n, "an order", a.kind == V_INT ? &b : &a);
        return value_bool(n->i == OP_LT ? a.u.i < b.u.i : n->i == OP_LE ? a.u.i <= b.u.i : n->i == OP_GT ? a.u.i > b.u.i : a.u.i >= b.u.i);
    default: return arithmetic(m, n, &a, &b);
    }
}

static value call(machine *m, const node *n)
{
    value args[MAX_ARGS], self = {0};
    call_args a = {.v = args, .names = n->first};
    if (n->kind != NODE_CALL) self = eval(m, n->a);
    for (const node *k = n->first; k && !m->rc; k = k->next) {
        if (a.n == MAX_ARGS) return give_up(m, FAIL(CO_E_UNSUPPORTED, "line %d: more than %d arguments", n->line, MAX_ARGS));
        args[a.n++] = eval(m, k->a);
    }
    if (m->rc) return self;
    if (n->kind == NODE_CALL) return call_function(m, n, &a);
    if (n->kind == NODE_FILTER) return call_filter(m, n, &self, &a);
    if (self.kind == V_UNDEFINED) return fail_type(m, n, "a method", &self);
    return call_method(m, n, &self, &a);
}

static value container(machine *m, const node *n)
{
    value v = n->kind == NODE_LIST ? list_new(m, 4) : dict_new(m);
    for (const node *k = n->first; k && !m->rc; k = k->next) {
        const value key = eval(m, k->a);
        if (m->rc) break;
        if (n->kind == NODE_LIST) {
            (void)list_add(m, v.u.list, key);
            continue;
        }
        if (key.kind != V_STR) return fail_type(m, n, "a key", &key);
        const value of = eval(m, k->b);
        if (!m->rc) (void)dict_set(m, v.u.dict, key, of);
    }
    return v;
}

static value eval(machine *m, const node *n)
{
    value v;
    const struct binding *b;
    if (!spend(m, n->line, 1)) return (value){0};
    switch (n->kind) {
    case NODE_STR: return value_str(n->s, n->len);
    case NODE_INT: return value_int(n->i);
    case NODE_BOOL: return value_bool((int)n->i);
    case NODE_NONE: return (value){.kind = V_NONE};
    case NODE_NAME:
        b = lookup(m, n->s, n->len);
        return b ? b->v : (value){.why = arena_strndup(m->a, n->s, n->len)};
    case NODE_LIST: case NODE_DICT: return container(m, n);
    case NODE_ATTR:
        v = eval(m, n->a);
        return m->rc ? v : member(m, n, &v, n->s, n->len);
    case NODE_INDEX: {
        v = eval(m, n->a);
        const value at = m->rc ? v : eval(m, n->b);
        return m->rc ? v : index_value(m, n, &v, &at);
    }
    case NODE_SLICE:
        v = eval(m, n->a);
        return m->rc ? v : slice(m, n, &v);
    case NODE_CALL: case NODE_METHOD: case NODE_FILTER: return call(m, n);
    case NODE_TEST:
        v = eval(m, n->a);
        return m->rc ? v : value_bool(run_test(m, n, &v) != (int)n->i);
    case NODE_NOT:
        v = eval(m, n->a);
        return m->rc ? v : value_bool(!value_truth(&v));
    case NODE_NEG:
        v = eval(m, n->a);
        if (!m->rc && (v.kind != V_INT || v.u.i == INT64_MIN)) return fail_type(m, n, "minus", &v);
        v.u.i = -v.u.i;
        return v;
    case NODE_AND: case NODE_OR:
        v = eval(m, n->a);
        return m->rc || value_truth(&v) == (n->kind == NODE_OR) ? v : eval(m, n->b);
    case NODE_CHOICE:
        v = eval(m, n->b);
        if (m->rc) return v;
        return value_truth(&v) ? eval(m, n->a) : n->c ? eval(m, n->c) : (value){0};
    default: return binary(m, n);
    }
}

static void put(machine *m, int line, const char *p, size_t n)
{
    if (!spend(m, line, n)) return;
    if (m->len + n + 1 > m->cap) {
        const size_t cap = 2 * (m->len + n) + 1024;
        char *more = arena_push(m->a, cap, 1);
        if (!more) {
            (void)give_up(m, CO_E_NOMEM);
            return;
        }
        if (m->len) memcpy(more, m->out, m->len);
        m->out = more;
        m->cap = cap;
    }
    if (n) memcpy(m->out + m->len, p, n);
    m->len += n;
    m->out[m->len] = 0;
}

static void run_body(machine *m, const node *body);

static void loop_var(machine *m, const value *all, size_t i)
{
    const struct { const char *name; value v; } fields[] = {
        {"index", value_int((int64_t)i + 1)}, {"index0", value_int((int64_t)i)}, {"first", value_bool(i == 0)}, {"last", value_bool(i + 1 == all->u.list->n)},
        {"length", value_int((int64_t)all->u.list->n)}, {"revindex", value_int((int64_t)(all->u.list->n - i))},
        {"revindex0", value_int((int64_t)(all->u.list->n - i - 1))},
        {"previtem", i ? all->u.list->v[i - 1] : (value){.why = "loop.previtem"}},
        {"nextitem", i + 1 < all->u.list->n ? all->u.list->v[i + 1] : (value){.why = "loop.nextitem"}}};
    value v = dict_new(m);
    for (size_t k = 0; k < sizeof fields / sizeof *fields && !m->rc; k++) (void)dict_set(m, v.u.dict, value_str(fields[k].name, strlen(fields[k].name)), fields[k].v);
    v.kind = m->rc ? V_UNDEFINED : V_NAMESPACE;
    bind(m, "loop", 4, v);
}

/* Binds a loop's names to an item; 0: it does not come apart so. */
static int bind_item(machine *m, const node *n, const value *item)
{
    if (!n->s2) return bind(m, n->s, n->len, *item), 1;
    if (item->kind != V_LIST || item->u.list->n != 2) return 0;
    bind(m, n->s, n->len, item->u.list->v[0]);
    bind(m, n->s2, n->len2, item->u.list->v[1]);
    return 1;
}

static void run_for(machine *m, const node *n)
{
    const size_t scope = m->n_names;
    value in = eval(m, n->a), all;
    if (m->rc) return;
    if (in.kind == V_DICT) in = (value){.kind = V_LIST, .u.list = &in.u.dict->keys};
    if (in.kind == V_UNDEFINED) in = list_new(m, 0);
    if (in.kind != V_LIST) {
        (void)fail_type(m, n, "a loop", &in);
        return;
    }
    all = n->c ? list_new(m, in.u.list->n) : in;
    for (size_t i = 0; n->c && i < in.u.list->n && !m->rc; i++) { /* "for x in y if z": loop counts those that pass */
        if (!bind_item(m, n, &in.u.list->v[i])) (void)fail_type(m, n, "two names for an item", &in.u.list->v[i]);
        const value pass = m->rc ? in : eval(m, n->c);
        if (!m->rc && value_truth(&pass)) (void)list_add(m, all.u.list, in.u.list->v[i]);
        m->n_names = scope;
    }
    const size_t count = m->rc ? 0 : all.u.list->n;
    for (size_t i = 0; i < count && !m->rc && m->flow != FLOW_BREAK; i++) {
        m->flow = FLOW_ON;
        loop_var(m, &all, i);
        if (!bind_item(m, n, &all.u.list->v[i])) (void)fail_type(m, n, "two names for an item", &all.u.list->v[i]);
        bind(m, "", 0, (value){0}); /* where the body's own names begin */
        if (!m->rc) run_body(m, n->b);
        m->n_names = scope; /* what the body set is gone */
    }
    m->flow = FLOW_ON;
    if (!m->rc && count == 0 && n->other) {
        bind(m, "", 0, (value){0});
        run_body(m, n->other);
        m->n_names = scope;
    }
}

/* Sets a name in the innermost scope. */
static void run_set(machine *m, const node *n)
{
    const value v = eval(m, n->a);
    if (m->rc) return;
    struct binding *b = lookup(m, n->s, n->len);
    if (n->s2) {
        if (!b || b->v.kind != V_NAMESPACE) (void)give_up(m, FAIL(CO_E_UNSUPPORTED, "line %d: a member is set of something that is no namespace", n->line));
        else (void)dict_set(m, b->v.u.dict, value_str(n->s2, n->len2), v);
        return;
    }
    for (size_t i = m->n_names; i-- > 0 && m->names[i].len;)
        if (m->names[i].len == n->len && memcmp(m->names[i].s, n->s, n->len) == 0) {
            m->names[i].v = v;
            return;
        }
    bind(m, n->s, n->len, v);
}

static void run_body(machine *m, const node *body)
{
    for (const node *n = body ? body->first : NULL; n && !m->rc && m->flow == FLOW_ON; n = n->next) {
        value v;
        if (!spend(m, n->line, 1)) return;
        switch (n->kind) {
        case NODE_TEXT: put(m, n->line, n->s, n->len); break;
        case NODE_PRINT:
            v = eval(m, n->a);
            if (!m->rc && value_text(m, &v, &v) == CO_OK) put(m, n->line, v.u.s.p, v.u.s.n);
            break;
        case NODE_IF:
            v = eval(m, n->a);
            if (m->rc) break;
            if (value_truth(&v)) run_body(m, n->b);
            else if (n->other && n->other->kind == NODE_IF) run_body(m, &(node){.kind = NODE_BLOCK, .first = n->other});
            else run_body(m, n->other);
            break;
        case NODE_FOR: run_for(m, n); break;
        case NODE_SET: run_set(m, n); break;
        case NODE_BREAK: m->flow = FLOW_BREAK; break;
        case NODE_CONTINUE: m->flow = FLOW_CONTINUE; break;
        default: run_body(m, n); break;
        }
    }
}

int jinja_run(const jinja *j, const jinja_input *in, co_arena *a, const char **out, size_t *len)
{
    machine m = {.a = a, .work = WORK};
    value messages = list_new(&m, in->n + 1);
    for (size_t i = 0; i < in->n && !m.rc; i++) {
        const char *role = chat_role_name(in->messages[i].role);
        value d = dict_new(&m);
        if (!m.rc) (void)dict_set(&m, d.u.dict, value_str("role", 4), value_str(role, strlen(role)));
        if (!m.rc) (void)dict_set(&m, d.u.dict, value_str("content", 7), value_str(in->messages[i].text, in->messages[i].len));
        if (!m.rc) (void)list_add(&m, messages.u.list, d);
    }
    bind(&m, "messages", 8, messages);
    bind(&m, "add_generation_prompt", 21, value_bool(in->add_generation_prompt));
    bind(&m, "tools", 5, (value){.kind = V_NONE}); /* as transformers passes them */
    bind(&m, "documents", 9, (value){.kind = V_NONE});
    if (in->bos_token) bind(&m, "bos_token", 9, value_str(in->bos_token, strlen(in->bos_token)));
    if (in->eos_token) bind(&m, "eos_token", 9, value_str(in->eos_token, strlen(in->eos_token)));
    put(&m, 0, "", 0);
    if (!m.rc) run_body(&m, j->root);
    if (m.rc) return m.rc;
    *out = m.out;
    *len = m.len;
    return CO_OK;
}
