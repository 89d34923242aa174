/* torch_pickle.c: the pickle of a state dict (Python's pickletools.py says what each opcode means). A stack, a memo, and eight kinds
 * of value; of the names a pickle may mention only those of `globals` are known, and "calling" one of them fills in a struct. */
#include <stdio.h>
#include <string.h>
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/params/torch_private.h"

typedef enum kind { NONE, INT, TEXT, TUPLE, DICT, GLOBAL, STORAGE, TENSOR } kind;

typedef enum role { IS_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, IS_STORAGE } role;
typedef struct global { const char *name; role role; const char *dtype; } global;
static const global globals[] = {
    {"collections OrderedDict", IS_DICT, NULL},
    {"torch._utils _rebuild_tensor_v2", REBUILD_TENSOR, NULL},
    {"torch._utils _rebuild_parameter", REBUILD_PARAMETER, NULL},
    {"torch FloatStorage", IS_STORAGE, "F32"},
    {"torch HalfStorage", IS_STORAGE, "F16"},
    {"torch BFloat16Storage", IS_STORAGE, "BF16"},
    {"torch DoubleStorage", IS_STORAGE, "F64"},
    {"torch LongStorage", IS_STORAGE, "I64"},
    {"torch IntStorage", IS_STORAGE, "I32"},
    {"torch ShortStorage", IS_STORAGE, "I16"},
    {"torch CharStorage", IS_STORAGE, "I8"},
    {"torch ByteStorage", IS_STORAGE, "U8"},
    {"torch BoolStorage", IS_STORAGE, "BOOL"},
};

typedef struct value {
    kind kind;
    uint32_t n, cap;      /* items: of a tuple; twice the entries of a dict */
    int64_t i;            /* INT, booleans included                         */
    const char *text;     /* TEXT                                           */
    struct value **items; /* TUPLE, DICT                                    */
    const global *global;
    torch_tensor *t;      /* STORAGE (key, dtype, stored), TENSOR           */
} value;

typedef struct machine {
    const char *path;
    const uint8_t *p;
    size_t n, at, op_at;
    co_arena *arena;
    value **stack, **memo;
    size_t top, cap, n_memo, memoized;
    size_t *marks;
    size_t n_marks, cap_marks;
} machine;

static int bad(const machine *m, const char *what)
{
    return FAIL(CO_E_FORMAT, "%s: its pickle, byte %zu: %s: not a state dict as torch.save writes it", m->path, m->op_at, what);
}

/* ---- reading, and the stack ------------------------------------------------------------------------------------ */
static int take(machine *m, size_t n, const uint8_t **out)
{
    if (n > m->n - m->at) return bad(m, "it ends in the middle");
    *out = m->p + m->at;
    m->at += n;
    return CO_OK;
}
static int take_number(machine *m, size_t bytes, uint64_t *out)
{
    const uint8_t *p = NULL;
    int r = take(m, bytes, &p);
    *out = 0;
    for (size_t i = bytes; r == CO_OK && i-- > 0;) *out = *out << 8 | p[i];
    return r;
}

static int push(machine *m, value *v)
{
    if (!v) return FAIL(CO_E_NOMEM, "out of memory");
    if (m->top == m->cap) {
        value **grown = mem_grow(m->stack, m->cap, m->cap ? 2 * m->cap : 256, sizeof *grown);
        if (!grown) return CO_E_NOMEM;
        m->stack = grown;
        m->cap = m->cap ? 2 * m->cap : 256;
    }
    m->stack[m->top++] = v;
    return CO_OK;
}
static value *new_value(machine *m, kind k)
{
    value *v = arena_push(m->arena, sizeof *v, 16);
    if (v) memset(v, 0, sizeof *v), v->kind = k;
    return v;
}
static int push_int(machine *m, int64_t i)
{
    value *v = new_value(m, INT);
    if (v) v->i = i;
    return push(m, v);
}
/* NULL, with the message, if nothing is there above the last mark. */
static value *pop(machine *m)
{
    const size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (m->top > floor) return m->stack[--m->top];
    bad(m, "its stack is empty");
    return NULL;
}
static int pop_mark(machine *m, size_t *from)
{
    if (m->n_marks == 0) return bad(m, "no mark is set");
    *from = m->marks[--m->n_marks];
    return CO_OK;
}
static int push_mark(machine *m)
{
    if (m->n_marks == m->cap_marks) {
        size_t *grown = mem_grow(m->marks, m->cap_marks, m->cap_marks ? 2 * m->cap_marks : 64, sizeof *grown);
        if (!grown) return CO_E_NOMEM;
        m->marks = grown;
        m->cap_marks = m->cap_marks ? 2 * m->cap_marks : 64;
    }
    m->marks[m->n_marks++] = m->top;
    return CO_OK;
}

static int add_items(machine *m, value *to, value *const *items, size_t n)
{
    if (n > UINT32_MAX / 2 - to->n) return bad(m, "too many items");
    if (to->n + n > to->cap) {
        const uint32_t cap = (uint32_t)(to->n + n) * 2;
        value **grown = arena_push(m->arena, cap * sizeof *grown, 16);
        if (!grown) return FAIL(CO_E_NOMEM, "out of memory");
        if (to->n) memcpy(grown, to->items, to->n * sizeof *grown);
        to->items = grown;
        to->cap = cap;
    }
    if (n) memcpy(to->items + to->n, items, n * sizeof *items);
    to->n += (uint32_t)n;
    return CO_OK;
}

static int push_tuple(machine *m, size_t from)
{
    value *v = new_value(m, TUPLE);
    if (!v) return FAIL(CO_E_NOMEM, "out of memory");
    int r = add_items(m, v, m->stack + from, m->top - from);
    m->top = from;
    return r ? r : push(m, v);
}
static int short_tuple(machine *m, size_t n)
{
    const size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    return m->top - floor < n ? bad(m, "its stack is empty") : push_tuple(m, m->top - n);
}

/* ---- memo, names, texts ----------------------------------------------------------------------------------------- */
static int put(machine *m, uint64_t i)
{
    const size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    if (i >= m->n) return bad(m, "a memo number beyond any that could be used");
    if (m->top <= floor) return bad(m, "its stack is empty");
    if (i >= m->n_memo) {
        const size_t n = i + 1 > 2 * m->n_memo ? i + 1 : 2 * m->n_memo;
        value **grown = mem_grow(m->memo, m->n_memo, n, sizeof *grown);
        if (!grown) return CO_E_NOMEM;
        m->memo = grown;
        m->n_memo = n;
    }
    if (!m->memo[i]) m->memoized++;
    m->memo[i] = m->stack[m->top - 1];
    return CO_OK;
}
static int get(machine *m, uint64_t i) { return i < m->n_memo && m->memo[i] ? push(m, m->memo[i]) : bad(m, "asks for what was never put away"); }

static int push_text(machine *m, uint64_t len)
{
    const uint8_t *p = NULL;
    value *v = new_value(m, TEXT);
    int r = v ? take(m, len, &p) : FAIL(CO_E_NOMEM, "out of memory");
    if (r) return r;
    if (memchr(p, 0, len)) return bad(m, "a text with a zero byte");
    v->text = arena_strndup(m->arena, (const char *)p, len);
    return v->text ? push(m, v) : CO_E_NOMEM;
}

static int push_named(machine *m, const char *name)
{
    value *v = new_value(m, GLOBAL);
    if (!v) return FAIL(CO_E_NOMEM, "out of memory");
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strcmp(globals[i].name, name) == 0) return v->global = &globals[i], push(m, v);
    return FAIL(CO_E_FORMAT, "%s: its pickle, byte %zu, asks for \"%s\", which is no part of a state dict of tensors. Nothing was run. If you trust "
                "the file, load it in Python and save it as safetensors", m->path, m->op_at, name);
}

static int push_global(machine *m)
{
    char name[200];
    size_t n = 0, lines = 0;
    while (lines < 2) {
        const uint8_t *c = NULL;
        int r = take(m, 1, &c);
        if (r) return r;
        if (n + 1 >= sizeof name) return bad(m, "a very long name");
        if (*c == '\n' && ++lines == 2) break;
        name[n++] = *c == '\n' ? ' ' : *c >= 32 && *c < 127 ? (char)*c : '?';
    }
    name[n] = 0;
    return push_named(m, name);
}

/* Newer pickles put module and name on the stack. */
static int push_stack_global(machine *m)
{
    char full[200];
    const value *name = pop(m), *module = name ? pop(m) : NULL;
    if (!module) return CO_E_FORMAT;
    if (name->kind != TEXT || module->kind != TEXT) return bad(m, "a name that is no text");
    if (snprintf(full, sizeof full, "%s %s", module->text, name->text) >= (int)sizeof full) return bad(m, "a very long name");
    return push_named(m, full);
}

/* ---- what names do ------------------------------------------------------------------------------------------------- */
static int is(const value *v, kind k) { return v->kind == k; }

/* ("storage", FloatStorage, "12", "cpu", 4096) */
static int persistent(machine *m)
{
    const value *t = pop(m);
    value *v = new_value(m, STORAGE);
    if (!t) return CO_E_FORMAT;
    if (!v || !(v->t = arena_push(m->arena, sizeof *v->t, 16))) return FAIL(CO_E_NOMEM, "out of memory");
    value *const *i = t->items;
    if (!is(t, TUPLE) || t->n != 5 || !is(i[0], TEXT) || strcmp(i[0]->text, "storage") != 0 || !is(i[1], GLOBAL) || !is(i[2], TEXT) || !is(i[4], INT) ||
        i[1]->global->role != IS_STORAGE || i[4]->i < 0)
        return bad(m, "a storage is not described as expected");
    *v->t = (torch_tensor){.key = i[2]->text, .dtype = i[1]->global->dtype, .stored = i[4]->i};
    return push(m, v);
}

static int integers(const value *v, int64_t *out)
{
    if (!is(v, TUPLE) || v->n > 8) return 0;
    for (uint32_t i = 0; i < v->n; i++) {
        if (!is(v->items[i], INT) || v->items[i]->i < 0) return 0;
        out[i] = v->items[i]->i;
    }
    return 1;
}

/* (storage, offset, size, stride, requires_grad, hooks[, metadata]) */
static int rebuild_tensor(machine *m, const value *args)
{
    value *v = new_value(m, TENSOR);
    if (!v || !(v->t = arena_push(m->arena, sizeof *v->t, 16))) return FAIL(CO_E_NOMEM, "out of memory");
    value *const *i = args->items;
    if (args->n < 6 || !is(i[0], STORAGE) || !is(i[1], INT) || i[1]->i < 0 || !is(i[2], TUPLE) || !is(i[3], TUPLE) || i[2]->n != i[3]->n)
        return bad(m, "a tensor is not described as expected");
    *v->t = *i[0]->t;
    v->t->offset = i[1]->i;
    v->t->ndim = i[2]->n;
    if (!integers(i[2], v->t->ne) || !integers(i[3], v->t->stride)) return bad(m, "a tensor's sizes are not as expected");
    return push(m, v);
}

static int reduce(machine *m)
{
    value *args = pop(m), *f = args ? pop(m) : NULL;
    if (!f) return CO_E_FORMAT;
    if (!is(f, GLOBAL) || !is(args, TUPLE)) return bad(m, "calls what is no name");
    switch (f->global->role) {
    case IS_DICT: return args->n ? bad(m, "an OrderedDict with contents") : push(m, new_value(m, DICT));
    case REBUILD_TENSOR: return rebuild_tensor(m, args);
    case REBUILD_PARAMETER: return args->n && is(args->items[0], TENSOR) ? push(m, args->items[0]) : bad(m, "a parameter is no tensor");
    case IS_STORAGE: break;
    }
    return bad(m, "calls a storage");
}

static int set_items(machine *m, size_t from)
{
    if (from == 0 || !is(m->stack[from - 1], DICT) || (m->n_marks && m->marks[m->n_marks - 1] >= from)) return bad(m, "entries without a dict");
    if ((m->top - from) % 2) return bad(m, "a key without a value");
    int r = add_items(m, m->stack[from - 1], m->stack + from, m->top - from);
    m->top = from;
    return r;
}

/* ---- the loop -------------------------------------------------------------------------------------------------------- */
static int step(machine *m, uint8_t op)
{
    uint64_t v = 0;
    size_t from = 0;
    int r = CO_OK;
    switch (op) {
    case 0x80: /* PROTO */
        r = take_number(m, 1, &v);
        return r == CO_OK && (v < 2 || v > 5) ? bad(m, "another version of pickle") : r;
    case 0x95: return take_number(m, 8, &v);                                         /* FRAME */
    case 'c': return push_global(m);                                                 /* GLOBAL */
    case 0x93: return push_stack_global(m);                                          /* STACK_GLOBAL */
    case 0x94: return put(m, m->memoized);                                           /* MEMOIZE */
    case '(': return push_mark(m);                                                   /* MARK */
    case ')': return push(m, new_value(m, TUPLE));                                   /* EMPTY_TUPLE */
    case '}': return push(m, new_value(m, DICT));                                    /* EMPTY_DICT */
    case 't': return (r = pop_mark(m, &from)) ? r : push_tuple(m, from);             /* TUPLE */
    case 0x85: case 0x86: case 0x87: return short_tuple(m, op - 0x84u);              /* TUPLE1 to 3 */
    case 'N': return push(m, new_value(m, NONE));                                    /* NONE */
    case 0x88: case 0x89: return push_int(m, op == 0x88);                            /* NEWTRUE, NEWFALSE */
    case 'K': case 'M': return (r = take_number(m, op == 'K' ? 1 : 2, &v)) ? r : push_int(m, (int64_t)v); /* BININT1, 2 */
    case 'J': return (r = take_number(m, 4, &v)) ? r : push_int(m, (int32_t)v);      /* BININT */
    case 0x8a:                                                                       /* LONG1 */
        r = take_number(m, 1, &v);
        if (r == CO_OK && v > 8) return bad(m, "a number above 64 bits");
        from = v;
        if (r == CO_OK) r = take_number(m, from, &v);
        if (r == CO_OK && from && from < 8 && v >> (8 * from - 1)) v |= ~(uint64_t)0 << 8 * from; /* negative */
        return r ? r : push_int(m, (int64_t)v);
    case 'X': return (r = take_number(m, 4, &v)) ? r : push_text(m, v);              /* BINUNICODE */
    case 0x8c: return (r = take_number(m, 1, &v)) ? r : push_text(m, v);             /* SHORT_BINUNICODE */
    case 'q': case 'r': return (r = take_number(m, op == 'q' ? 1 : 4, &v)) ? r : put(m, v); /* BINPUT, LONG_BINPUT */
    case 'h': case 'j': return (r = take_number(m, op == 'h' ? 1 : 4, &v)) ? r : get(m, v); /* BINGET, LONG_BINGET */
    case 'Q': return persistent(m);                                                  /* BINPERSID */
    case 'R': return reduce(m);                                                      /* REDUCE */
    case 'u': return (r = pop_mark(m, &from)) ? r : set_items(m, from);              /* SETITEMS */
    case 's': return m->top >= 3 ? set_items(m, m->top - 2) : bad(m, "entries without a dict"); /* SETITEM */
    case 'b': /* BUILD: a state dict's _metadata, of which nothing is needed */
        if (!pop(m)) return CO_E_FORMAT;
        return m->top && is(m->stack[m->top - 1], DICT) ? CO_OK : bad(m, "sets attributes of something else than a dict");
    default: return FAIL(CO_E_FORMAT, "%s: its pickle, byte %zu: instruction 0x%02x is not used by a state dict", m->path, m->op_at, op);
    }
}

static int run(machine *m, value **result)
{
    for (;;) {
        const uint8_t *op = NULL;
        m->op_at = m->at;
        int r = take(m, 1, &op);
        if (r) return r;
        if (*op == '.') break;
        r = step(m, *op);
        if (r) return r;
    }
    *result = pop(m);
    if (!*result) return CO_E_FORMAT;
    return is(*result, DICT) ? CO_OK : bad(m, "its result is no dict");
}

int torch_pickle(const char *path, const uint8_t *p, size_t n, co_arena *a, int (*tensor)(void *ctx, const torch_tensor *t), void *ctx)
{
    machine m = {.path = path, .p = p, .n = n, .arena = a};
    value *dict = NULL;
    int r = run(&m, &dict);
    for (uint32_t i = 0; r == CO_OK && i < dict->n; i += 2) {
        const value *key = dict->items[i], *v = dict->items[i + 1];
        if (!is(key, TEXT)) r = bad(&m, "a key that is no text");
        else if (!is(v, TENSOR))
            r = FAIL(CO_E_FORMAT, "%s: \"%.200s\" is no tensor: a state dict holds nothing else (a training checkpoint has it under a key of its own; "
                     "save that part alone)", path, key->text);
        if (r) break;
        torch_tensor t = *v->t;
        t.name = key->text;
        r = tensor(ctx, &t);
    }
    mem_free(m.stack);
    mem_free(m.memo);
    mem_free(m.marks);
    return r;
}
