#include "core/train/tensorboard.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A value is at most 2 + 2 + 2 + 63 + 5 bytes; the largest message is well below BODY. */
enum { MAX_VALUES = 32, MAX_TAG = 63, BODY = 4096, HEAD = 12, TAIL = 4 };
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 }; /* protobuf wire types */
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5, EVENT_SESSION_LOG = 7 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, SESSION_STATUS = 1, SESSION_START = 1 };

struct tensorboard {
    int fd;
    char *path;
    int64_t step;
    int n;
    struct { char tag[MAX_TAG + 1]; float value; } values[MAX_VALUES];
    uint8_t record[HEAD + BODY + TAIL];
    size_t at; /* bytes of the message so far */
};

/* CRC-32C (Castagnoli), a bit at a time: a few hundred bytes a step. */
uint32_t tensorboard_crc(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t c = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++) c = (c >> 1) ^ (0x82F63B78u & (0u - (c & 1)));
    }
    c = ~c;
    return ((c >> 15) | (c << 17)) + 0xA282EAD8u;
}

static void little(uint8_t *to, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(v >> (8 * i));
}

static void varint(tensorboard *t, uint64_t v)
{
    for (; v >= 128; v >>= 7) t->record[HEAD + t->at++] = (uint8_t)(v | 128);
    t->record[HEAD + t->at++] = (uint8_t)v;
}

static void key(tensorboard *t, int field, int type) { varint(t, (uint64_t)(field << 3 | type)); }

static void put_double(tensorboard *t, int field, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    key(t, field, FIXED64);
    little(t->record + HEAD + t->at, bits, 8);
    t->at += 8;
}

static void put_float(tensorboard *t, int field, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    key(t, field, FIXED32);
    little(t->record + HEAD + t->at, bits, 4);
    t->at += 4;
}

static void text(tensorboard *t, int field, const char *s)
{
    const size_t n = strlen(s);
    key(t, field, BYTES);
    varint(t, n);
    memcpy(t->record + HEAD + t->at, s, n);
    t->at += n;
}

static void event(tensorboard *t, int64_t step)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const double wall = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    t->at = 0;
    put_double(t, EVENT_WALL_TIME, wall);
    key(t, EVENT_STEP, VARINT);
    varint(t, (uint64_t)step);
}

static int write_record(tensorboard *t)
{
    little(t->record, t->at, 8);
    little(t->record + 8, tensorboard_crc(t->record, 8), 4);
    little(t->record + HEAD + t->at, tensorboard_crc(t->record + HEAD, t->at), 4);
    return fs_write_all(t->fd, t->path, t->record, HEAD + t->at + TAIL);
}

void tensorboard_begin(tensorboard *t, int64_t step)
{
    if (!t) return;
    t->step = step;
    t->n = 0;
}

void tensorboard_add(tensorboard *t, const char *tag, double value)
{
    if (!t || t->n == MAX_VALUES) return;
    snprintf(t->values[t->n].tag, sizeof t->values[t->n].tag, "%s", tag);
    t->values[t->n++].value = (float)value;
}

static size_t value_bytes(const char *tag) { return 2 + strlen(tag) + 5; } /* both keys and the length are one byte */

int tensorboard_end(tensorboard *t)
{
    size_t n = 0;
    if (!t || !t->n) return CO_OK;
    for (int i = 0; i < t->n; i++) n += 2 + value_bytes(t->values[i].tag);
    event(t, t->step);
    key(t, EVENT_SUMMARY, BYTES);
    varint(t, n);
    for (int i = 0; i < t->n; i++) {
        key(t, SUMMARY_VALUE, BYTES);
        varint(t, value_bytes(t->values[i].tag));
        text(t, VALUE_TAG, t->values[i].tag);
        put_float(t, VALUE_SIMPLE, t->values[i].value);
    }
    return write_record(t);
}

static int write_start(tensorboard *t, int64_t done)
{
    event(t, 0);
    text(t, EVENT_FILE_VERSION, "brain.Event:2");
    int r = write_record(t);
    if (r || !done) return r;
    event(t, done + 1); /* readers forget what they have of this step and later ones */
    key(t, EVENT_SESSION_LOG, BYTES);
    varint(t, 2);
    key(t, SESSION_STATUS, VARINT);
    varint(t, SESSION_START);
    return write_record(t);
}

static int remove_files(const char *dir)
{
    char **names;
    size_t n;
    int r = fs_list(dir, &names, &n);
    if (r) return r;
    for (size_t i = 0; i < n && r == CO_OK; i++) {
        if (!strstr(names[i], ".tfevents.")) continue;
        char *path = fs_join(dir, names[i]);
        r = path ? fs_remove_tree(path) : CO_E_NOMEM;
        mem_free(path);
    }
    fs_free_list(names, n);
    return r;
}

/* TensorBoard reads files of a folder in the order of their names: the time first, then a count within the second. */
static int create(tensorboard *t, const char *dir)
{
    char host[64] = "localhost";
    const long long seconds = (long long)time(NULL);
    if (gethostname(host, sizeof host - 1)) snprintf(host, sizeof host, "localhost");
    for (int i = 0; i < 1000; i++) {
        t->path = mem_printf("%s/events.out.tfevents.%010lld.%03d.%s", dir, seconds, i, host);
        if (!t->path) return CO_E_NOMEM;
        t->fd = open(t->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (t->fd >= 0) return CO_OK;
        if (errno != EEXIST) return FAIL(CO_E_IO, "cannot create '%s': %s", t->path, strerror(errno));
        mem_free(t->path);
        t->path = NULL;
    }
    return FAIL(CO_E_IO, "'%s': more than 1000 event files of one second", dir);
}

int tensorboard_open(const char *output, int64_t done, tensorboard **out)
{
    char *dir = fs_join(output, "tensorboard");
    tensorboard *t = mem_alloc(sizeof *t, 0);
    int r = dir && t ? fs_mkdirs(dir) : CO_E_NOMEM;
    if (t) t->fd = -1;
    if (r == CO_OK && !done) r = remove_files(dir);
    if (r == CO_OK) r = create(t, dir);
    if (r == CO_OK) r = write_start(t, done);
    mem_free(dir);
    if (r) tensorboard_close(t);
    else *out = t;
    return r;
}

void tensorboard_close(tensorboard *t)
{
    if (!t) return;
    if (t->fd >= 0) close(t->fd);
    mem_free(t->path);
    mem_free(t);
}
