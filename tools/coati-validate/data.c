/* data.c: datasets and tokenizers, on the files that --data names. */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "validate.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int valid_utf8(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        const unsigned char c = (unsigned char)s[i];
        const size_t len = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xF0 && c < 0xF5 ? 4 : 0;
        if (!len || len > n - i) return 0;
        for (size_t k = 1; k < len; k++)
            if (((unsigned char)s[i + k] & 0xC0) != 0x80) return 0;
        i += len;
    }
    return 1;
}

/* ---- datasets ------------------------------------------------------------------------------------------------------ */
/* Reads one record and says what is wrong with it; its content goes into *sum. */
static int read_record(const co_dataset_vt *vt, void *self, int64_t i, co_arena *a, uint64_t *sum)
{
    co_field *f = NULL;
    uint32_t n = 0;
    const int r = vt->read(self, i, a, &f, &n);
    if (r == CO_END) return r;
    if (r) {
        if (check_message("read()", r)) report_fail("record %lld: %s", (long long)i, error_message());
        return r;
    }
    if (n && !f) return report_fail("record %lld: %u fields and no array of them", (long long)i, n), CO_E_INVALID;
    for (uint32_t k = 0; k < n; k++) {
        if (!f[k].name || !f[k].data) return report_fail("record %lld, field %u: no name or no data", (long long)i, k), CO_E_INVALID;
        if (f[k].type > CO_FIELD_JSON) return report_fail("record %lld, field \"%s\": type %u does not exist", (long long)i, f[k].name, f[k].type), CO_E_INVALID;
        if (f[k].data[f[k].len]) return report_fail("record %lld, field \"%s\": no NUL after its %zu bytes", (long long)i, f[k].name, f[k].len), CO_E_INVALID;
        if (!valid_utf8(f[k].data, f[k].len)) return report_fail("record %lld, field \"%s\": not UTF-8", (long long)i, f[k].name), CO_E_INVALID;
        for (size_t b = 0; b <= f[k].len; b++) *sum = (*sum ^ (unsigned char)f[k].data[b]) * 1099511628211u;
        for (const char *c = f[k].name; *c; c++) *sum = (*sum ^ (unsigned char)*c) * 1099511628211u;
    }
    return CO_OK;
}

static int read_all(const co_dataset_vt *vt, void *self, int64_t n, int backwards, uint64_t *sum)
{
    co_arena *a = arena_new(1 << 16);
    int r = a ? CO_OK : CO_E_NOMEM;
    *sum = 0;
    for (int64_t k = 0; k < n && r == CO_OK; k++) {
        uint64_t one = 14695981039346656037u;
        const int64_t i = backwards ? n - 1 - k : k;
        r = read_record(vt, self, i, a, &one);
        if (r == CO_END) report_fail("record %lld of %lld: CO_END", (long long)i, (long long)n);
        *sum += one * (uint64_t)(2 * i + 1); /* whatever the order */
        arena_reset(a);
    }
    if (a) arena_free(a);
    return r;
}

static void check_past_the_end(const co_dataset_vt *vt, void *self, int64_t n)
{
    co_arena *a = arena_new(4096);
    co_field *f = NULL;
    uint32_t k = 0;
    report_trying("read() past the end");
    int r = vt->read(self, n, a, &f, &k);
    if (r != CO_END) report_fail("read(%lld) of %lld records returns %d: past the end is CO_END", (long long)n, (long long)n, r);
    else report_ok("past the end: CO_END");
    arena_free(a);
}

/* The file cut in half, and zeros: an error or fewer records, in words. */
static void check_broken(const subject *s, const char *name, const char *bytes, size_t len)
{
    const co_dataset_vt *vt = host_dataset(s->host, s->f);
    char dir[] = "/tmp/coati-validate-XXXXXX", *path = mkdtemp(dir) ? fs_join(dir, fs_basename(s->a->data)) : NULL;
    const int before = report_failures();
    report_trying("a file %s", name);
    if (path && fs_write_atomic(path, bytes, len) == CO_OK) {
        subject other = *s;
        validate_args a = *s->a;
        bound b = {0};
        void *self = NULL;
        int64_t n = 0;
        a.data = path;
        other.a = &a;
        int r = subject_bind(&other, s->f, NULL, &b);
        if (r == CO_OK) r = subject_open(&other, b.opts, &self);
        if (r == CO_OK) r = vt->count(self, &n);
        co_arena *arena = arena_new(4096);
        for (int64_t i = 0; i < n && i < 100000 && r == CO_OK; i++) {
            co_field *f = NULL;
            uint32_t k = 0;
            r = vt->read(self, i, arena, &f, &k);
            arena_reset(arena);
        }
        arena_free(arena);
        if (r < 0 && check_message("a broken file", r)) {
            if (strstr(error_message(), fs_basename(path))) report_ok("a file %s: %.200s", name, error_message());
            else report_fail("a file %s: \"%.300s\" does not name the file", name, error_message());
        } else if (report_failures() == before) report_ok("a file %s: read as %lld records", name, (long long)n);
        if (self) subject_close(&other, self);
        bound_free(&b);
    }
    mem_free(path);
    (void)fs_remove_tree(dir);
}

static void check_clone(const subject *s, void *self, int64_t n, uint64_t sum)
{
    const co_dataset_vt *vt = host_dataset(s->host, s->f);
    void *other = NULL;
    uint64_t again = 0;
    if (!vt->clone) {
        report_note("no clone(): one thread reads at a time");
        return;
    }
    report_trying("clone()");
    const int r = vt->clone(self, &other);
    if (r) {
        if (check_message("clone()", r)) report_fail("clone(): %s", error_message());
    } else if (!other) report_fail("clone() gives nothing");
    else {
        const int before = report_failures();
        if (read_all(vt, other, n, 1, &again) == CO_OK && again != sum) report_fail("a clone reads other records");
        subject_close(s, other);
        report_trying("read() after its clone was closed");
        if (read_all(vt, self, n, 0, &again) == CO_OK && again != sum) report_fail("after its clone was closed it reads other records");
        if (report_failures() == before) report_ok("a clone reads the same, backwards, and leaves the first as it was");
    }
}

void check_dataset(const subject *s)
{
    const co_dataset_vt *vt = host_dataset(s->host, s->f);
    bound b = {0};
    void *self = NULL;
    int64_t n = -1;
    uint64_t sum = 0, again = 0;
    if (!vt->suffixes || !vt->suffixes[0]) report_note("recognises no file name ending: only format = %s finds it", s->f->name);
    if (!s->a->data) return;
    int r = subject_bind(s, s->f, NULL, &b);
    if (r == CO_OK) r = subject_open(s, b.opts, &self);
    report_trying("count() and read()");
    if (r == CO_OK) r = vt->count(self, &n);
    if (r == CO_E_UNSUPPORTED) report_skip("records: a stream");
    else if (r) report_fail("count(): %s", error_message());
    else if (n < 0) report_fail("count() says %lld", (long long)n);
    else if (read_all(vt, self, n, 0, &sum) == CO_OK && read_all(vt, self, n, 1, &again) == CO_OK) {
        if (sum != again) report_fail("records differ when read backwards: read() depends on what was read before");
        else report_ok("%lld records, the same forwards and backwards", (long long)n);
        check_past_the_end(vt, self, n);
        check_clone(s, self, n, sum);
        char *bytes = NULL;
        size_t len = 0;
        if (fs_read_all(s->a->data, &bytes, &len, 64 << 20) == CO_OK) {
            check_broken(s, "cut in half", bytes, len / 2);
            memset(bytes, 0, len);
            check_broken(s, "of zeros", bytes, len < 4096 ? len : 4096);
            check_broken(s, "of nothing", bytes, 0);
        }
        mem_free(bytes);
    }
    if (self) subject_close(s, self);
    bound_free(&b);
}

/* ---- tokenizers ------------------------------------------------------------------------------------------------------ */
static const char *const texts[] = {"The quick brown fox.", " two  spaces ", "", "line\nline\ttab", "ÄÖü ß é ñ", "日本語 текст 🙂", "1 + 2 = 3; f(x) = x[0];"};
enum { N_TEXTS = 7 };

typedef struct reading { const co_tokenizer_vt *vt; void *self; uint64_t sum; int failed; } reading;

static void *encode_all(void *ctx)
{
    reading *t = ctx;
    co_arena *a = arena_new(4096);
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < N_TEXTS; i++) {
            int32_t *ids = NULL;
            size_t n = 0;
            t->failed |= t->vt->encode(t->self, texts[i], strlen(texts[i]), a, &ids, &n) != CO_OK;
            for (size_t k = 0; k < n && !t->failed; k++) t->sum = (t->sum ^ (uint64_t)ids[k]) * 1099511628211u;
        }
    arena_free(a);
    return NULL;
}

static void check_threads(const co_tokenizer_vt *vt, void *self)
{
    enum { THREADS = 4 };
    pthread_t t[THREADS];
    reading alone = {vt, self, 7, 0}, r[THREADS];
    int wrong = 0, started = 0;
    report_trying("encode() from %d threads", THREADS);
    encode_all(&alone);
    for (int i = 0; i < THREADS; i++) {
        r[i] = (reading){vt, self, 7, 0};
        started += pthread_create(&t[i], NULL, encode_all, &r[i]) == 0;
    }
    for (int i = 0; i < started; i++) {
        pthread_join(t[i], NULL);
        wrong |= r[i].failed || r[i].sum != alone.sum;
    }
    if (wrong || alone.failed) report_fail("encode() from several threads gives other ids: it is called from any thread");
    else report_ok("encode() from %d threads at once", started);
}

/* Marks become their ids, in their places, whatever text they cover. */
static void check_marks(const co_tokenizer_vt *vt, void *self, co_arena *a)
{
    static const char text[] = "one MARK two";
    const co_text_mark marks[] = {{.at = 0, .len = 0, .id = 0}, {.at = 4, .len = 4, .id = 0}, {.at = 12, .len = 0, .id = 0}};
    int32_t *ids = NULL;
    size_t n = 0, zeros = 0;
    report_trying("encode_marked()");
    const int r = vt->encode_marked(self, text, 12, marks, 3, a, &ids, &n);
    for (size_t k = 0; r == CO_OK && k < n; k++) zeros += ids[k] == 0;
    if (r) report_fail("encode_marked(): %s", error_message());
    else if (n < 3 || ids[0] != 0 || ids[n - 1] != 0 || zeros < 3) report_fail("encode_marked(): three marks of id 0, at the start, inside and at the end, are not where they were put");
    else if (CO_HAS(co_tokenizer_vt, vt, token) && vt->token(self, "no such token, surely", 21) >= 0) report_fail("token() finds a token that nobody has");
    else report_ok("encode_marked: special tokens at their marks");
}

static void check_texts(const co_tokenizer_vt *vt, void *self, int64_t vocab)
{
    co_arena *a = arena_new(1 << 16);
    const int before = report_failures();
    int exact = 0;
    for (int i = 0; i < N_TEXTS && report_failures() == before; i++) {
        int32_t *ids = NULL;
        size_t n = 0, len = 0;
        char *back = NULL;
        report_trying("encode(\"%s\")", texts[i]);
        int r = vt->encode(self, texts[i], strlen(texts[i]), a, &ids, &n);
        if (r) {
            if (check_message("encode()", r)) report_fail("encode(): %s", error_message());
            break;
        }
        for (size_t k = 0; k < n; k++)
            if (ids[k] < 0 || ids[k] >= vocab) {
                report_fail("\"%s\": id %d, the vocabulary has %lld", texts[i], ids[k], (long long)vocab);
                break;
            }
        if (report_failures() != before) break;
        report_trying("decode() of \"%s\"", texts[i]);
        r = vt->decode(self, ids, n, 0, a, &back, &len);
        if (r || (len && !back)) report_fail("decode() of what encode() gave: %s", r ? error_message() : "no text");
        else exact += len == strlen(texts[i]) && memcmp(back, texts[i], len) == 0;
    }
    if (report_failures() == before) report_ok("encode and decode: %d of %d texts come back byte for byte", exact, N_TEXTS);
    if (report_failures() == before && CO_HAS(co_tokenizer_vt, vt, encode_marked)) check_marks(vt, self, a);
    report_trying("decode() of ids that do not exist");
    const int32_t strange[] = {-1, INT32_MIN, INT32_MAX, (int32_t)vocab};
    for (size_t k = 0; k < 4 && report_failures() == before; k++) {
        char *back = NULL;
        size_t len = 0;
        const int r = vt->decode(self, &strange[k], 1, 0, a, &back, &len);
        if (r < 0) (void)check_message("decode() of an unknown id", r);
    }
    report_trying("encode() of bytes that are no UTF-8");
    int32_t *ids = NULL;
    size_t n = 0;
    const int r = vt->encode(self, "a\xff\xc3(\xf0\x9f", 6, a, &ids, &n);
    if (r < 0) (void)check_message("encode() of broken UTF-8", r);
    if (report_failures() == before) report_ok("unknown ids and broken UTF-8: an answer or an error");
    arena_free(a);
}

void check_tokenizer(const subject *s)
{
    const co_tokenizer_vt *vt = host_tokenizer(s->host, s->f);
    bound b = {0};
    void *self = NULL;
    int64_t n = -1;
    if (!vt->files || !vt->files[0]) report_note("reads no file by name: only [tokenizer] name = %s finds it", s->f->name);
    if (!s->a->data) return;
    int r = subject_bind(s, s->f, NULL, &b);
    if (r == CO_OK) r = subject_open(s, b.opts, &self);
    report_trying("n_vocab()");
    if (r == CO_OK) r = vt->n_vocab(self, &n);
    if (r) report_fail("%s", error_message());
    else if (n < 1 || n > INT32_MAX) report_fail("n_vocab() says %lld", (long long)n);
    else {
        static const char *const roles[] = {"bos", "eos", "unk", "pad", "no such role"};
        for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
            report_trying("special(\"%s\")", roles[i]);
            const int32_t id = vt->special(self, roles[i]);
            if (id >= n) report_fail("special(\"%s\") is %d, the vocabulary has %lld", roles[i], id, (long long)n);
        }
        check_texts(vt, self, n);
        check_threads(vt, self);
    }
    if (self) subject_close(s, self);
    bound_free(&b);
}
