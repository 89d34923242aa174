/* Event files read back: frames with their checksums, then the messages field by field. tests/golden/read_events.py
 * reads one with TensorBoard itself. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/train/metrics.h"
#include "core/train/tensorboard.h"

#include <unistd.h>

typedef struct view { const uint8_t *at, *end; } view;

static uint64_t little(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static uint64_t varint(view *v)
{
    uint64_t x = 0;
    for (int shift = 0; v->at < v->end && shift < 64; shift += 7) {
        x |= (uint64_t)(*v->at & 127) << shift;
        if (!(*v->at++ & 128)) return x;
    }
    CHECK(!"a varint that ends");
    return 0;
}

/* The next field; `body` of a length-delimited one, `number` of the others. 0: none left. */
static int field(view *v, view *body, uint64_t *number)
{
    if (v->at >= v->end) return 0;
    const uint64_t k = varint(v);
    const int wire = (int)(k & 7), n = wire == 1 ? 8 : 4;
    if (wire == 0) {
        *number = varint(v);
    } else if (wire == 2) {
        const uint64_t len = varint(v);
        CHECK(len <= (uint64_t)(v->end - v->at));
        *body = (view){ v->at, v->at + len };
        v->at += len;
    } else {
        CHECK(wire == 1 || wire == 5);
        *number = little(v->at, n);
        v->at += n;
    }
    CHECK(v->at <= v->end);
    return (int)(k >> 3);
}

/* One event as "step tag=value …", "version …" or "start step". */
static void describe(view v, char *to, size_t cap)
{
    view body = { 0 }, summary = { 0 };
    uint64_t number = 0, step = 0;
    double wall = 0;
    int f, start = 0;
    size_t n;
    char version[32] = "";
    while ((f = field(&v, &body, &number)) != 0) {
        if (f == 1) memcpy(&wall, &number, 8);
        else if (f == 2) step = number;
        else if (f == 3) snprintf(version, sizeof version, "%.*s", (int)(body.end - body.at), (const char *)body.at);
        else if (f == 5) summary = body;
        else if (f == 7) start = field(&body, &body, &number) == 1 && number == 1;
        else CHECK(!"a field that events have");
    }
    CHECK(wall > 1.6e9 && wall < 1e11);
    n = (size_t)snprintf(to, cap, "%d%s%s%s", (int)step, start ? " start" : "", version[0] ? " version " : "", version);
    while ((f = field(&summary, &body, &number)) != 0) {
        view value = body, tag = { 0 };
        float x = 0;
        CHECK(f == 1);
        while ((f = field(&value, &body, &number)) != 0) {
            if (f == 1) tag = body;
            else if (f == 2) memcpy(&x, &(uint32_t){ (uint32_t)number }, 4);
            else CHECK(!"a field that values have");
        }
        n += (size_t)snprintf(to + n, cap - n, " %.*s=%g", (int)(tag.end - tag.at), (const char *)tag.at, x);
    }
}

static int read_file(const char *path, char lines[][512], int max)
{
    char *data;
    size_t len, at = 0;
    int n = 0;
    CHECK(fs_read_all(path, &data, &len, 1 << 20) == CO_OK);
    const uint8_t *p = (const uint8_t *)data;
    while (at + 12 <= len && n < max) {
        const uint64_t size = little(p + at, 8);
        CHECK(little(p + at + 8, 4) == tensorboard_crc(p + at, 8));
        CHECK(at + 16 + size <= len && little(p + at + 12 + size, 4) == tensorboard_crc(p + at + 12, size));
        describe((view){ p + at + 12, p + at + 12 + size }, lines[n++], 512);
        at += 16 + size;
    }
    CHECK(at == len);
    mem_free(data);
    return n;
}

static void test_crc(void)
{
    const uint32_t masked = tensorboard_crc("123456789", 9) - 0xA282EAD8u;
    CHECK(((masked >> 17) | (masked << 15)) == 0xE3069283u); /* RFC 3720's check value, masked by the TFRecord rule */
}

static void test_files(void)
{
    static char lines[16][512];
    char dir[64], events[80], **names;
    size_t n;
    metrics *m;
    metrics_step s = { .step = 1, .tokens = 300, .samples = 8, .epoch = 0.5, .loss = 2.25, .lr = 0.125, .grad_norm = 1.5,
                       .tokens_per_s = 64, .step_s = 0.5, .data_wait_s = 0.25, .mem_device_bytes = 1024, .mem_host_bytes = 2048 };
    snprintf(dir, sizeof dir, "train_tensorboard_%ld.tmp", (long)getpid());
    snprintf(events, sizeof events, "%s/tensorboard", dir);
    CHECK(fs_mkdirs(dir) == CO_OK && metrics_open(dir, 0, 1, &m) == CO_OK);
    CHECK(metrics_train(m, &s) == CO_OK);
    s.step = 200;
    s.loss = NAN;
    CHECK(metrics_train(m, &s) == CO_OK && metrics_eval(m, 200, 1, 0, &(metrics_named){0}, 50, 7) == CO_OK);
    metrics_close(m);
    CHECK(fs_list(events, &names, &n) == CO_OK && n == 1);
    char *path = fs_join(events, names[0]);
    CHECK(read_file(path, lines, 16) == 4);
    CHECK_STR(lines[0], "0 version brain.Event:2");
    CHECK_STR(lines[1], "1 epoch=0.5 loss=2.25 lr=0.125 grad_norm=1.5 tokens=300 samples=8 tokens_per_s=64 step_s=0.5 data_wait_s=0.25 "
                        "mem_device_bytes=1024 mem_host_bytes=2048");
    CHECK_HAS(lines[2], "200 epoch=0.5 loss=nan lr=");
    CHECK_STR(lines[3], "200 epoch=1 eval_loss=0 eval_perplexity=1 eval_tokens=50 eval_samples=7");
    mem_free(path);
    fs_free_list(names, n);

    CHECK(metrics_open(dir, 5, 1, &m) == CO_OK); /* goes on after step 5 */
    metrics_close(m);
    CHECK(fs_list(events, &names, &n) == CO_OK && n == 2);
    path = fs_join(events, names[1]);
    CHECK(read_file(path, lines, 16) == 2);
    CHECK_STR(lines[1], "6 start");
    mem_free(path);
    fs_free_list(names, n);

    CHECK(metrics_open(dir, 0, 1, &m) == CO_OK); /* begins again */
    metrics_close(m);
    CHECK(fs_list(events, &names, &n) == CO_OK && n == 1);
    fs_free_list(names, n);
    CHECK(fs_remove_tree(events) == CO_OK && metrics_open(dir, 0, 0, &m) == CO_OK);
    metrics_close(m);
    CHECK(!fs_is_dir(events)); /* log.tensorboard = 0 */
    CHECK(fs_remove_tree(dir) == CO_OK);
}

int main(void)
{
    test_crc();
    test_files();
    return check_done();
}
