/* Good, lying and damaged safetensors files; shards; the writer. */
#include <math.h>
#include "fixture.h"
#include "core/params/half.h"

static int open_raw(const char *header, size_t data, st_set **out)
{
    const char *path = tmp_path("raw.safetensors");
    put_raw(path, header, data);
    return st_open_file(path, out);
}

static void test_reads(void)
{
    st_set *s = NULL;
    /* odd header length on purpose: nothing below may count on alignment */
    CHECK(open_raw("{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                   "\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[3,11]},"
                   "\"e\":{\"dtype\":\"F16\",\"shape\":[0,7],\"data_offsets\":[11,11]},"
                   "\"s\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[11,13]}}  ", 13, &s) == CO_OK);
    CHECK_STR(s ? "" : error_message(), "");
    if (!s) return;
    float v[2];
    CHECK(st_count(s) == 4);
    CHECK_STR(st_at(s, 0)->name, "b");
    CHECK_STR(st_at(s, 1)->name, "a");
    CHECK_STR(st_metadata(s, "format"), "pt");
    CHECK(st_metadata(s, "absent") == NULL);
    const st_tensor *a = st_find(s, "a");
    CHECK(a && a->ndim == 2 && a->ne[0] == 2 && a->ne[1] == 1 && a->dtype == CO_F32 && a->bytes == 8);
    CHECK(a && st_read_f32(a, 0, 2, v) == CO_OK);
    CHECK(half_to_bits(v[0]) == 0x06050403u && half_to_bits(v[1]) == 0x0a090807u);
    CHECK(a && st_read_f32(a, 1, 2, v) == CO_E_INVALID);
    CHECK(a && st_read_f32(a, -1, 1, v) == CO_E_INVALID);
    CHECK(st_read_f32(st_find(s, "s"), 0, 1, v) == CO_OK && half_to_bits(v[0]) == 0x0c0b0000u);
    CHECK(st_read_f32(st_find(s, "b"), 0, 1, v) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "stored as U8");
    CHECK(st_find(s, "nothing") == NULL);
    st_close(s);
}

#define T(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_lies(void)
{
    static const struct { const char *header; size_t data; const char *says; } cases[] = {
        {"{" T("a", "F33", "[1]", "[0,4]") "}", 4, "unknown element type \"F33\""},
        {"{" T("a", "F32", "[2]", "[0,4]") "}", 4, "its shape needs 8"},
        {"{" T("a", "F32", "[1]", "[0,8]") "}", 8, "offsets span 8 bytes"},
        {"{" T("a", "F32", "[2]", "[0,8]") "}", 4, "cut short"},
        {"{" T("a", "F32", "[1]", "[4,0]") "}", 4, "ends before it"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[2]", "[0,8]") "}", 8, "overlaps tensor \"a\""},
        {"{" T("a", "F32", "[1]", "[4,8]") "}", 8, "belong to no tensor"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[8,12]") "}", 12, "belong to no tensor"},
        {"{" T("a", "F32", "[1]", "[0,4]") "}", 5, "5 bytes of data are there"},
        {"{}", 1, "1 bytes of data are there"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", 8, "\"a\" is there twice"},
        {"{" T("a", "F32", "[4611686018427387904,4]", "[0,0]") "}", 0, "overflows"},
        {"{" T("a", "F32", "[9223372036854775807]", "[0,4]") "}", 4, "overflows"},
        {"{" T("a", "F32", "[-1]", "[0,4]") "}", 4, "below zero"},
        {"{" T("a", "F32", "[1.0]", "[0,4]") "}", 4, "an integer is expected"},
        {"{" T("a", "F32", "[1]", "[0]") "}", 4, "an integer is expected"},
        {"{" T("a", "F32", "[1]", "[0,4,4]") "}", 4, "end of a pair"},
        {"{" T("a", "F32", "[1]", "[-4,0]") "}", 4, "below zero"},
        {"{" T("a", "F32", "[1]", "[0,99999999999999999999]") "}", 4, "64 bits"},
        {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "more than 8 dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "\"data_offsets\" is missing"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "\"dtype\" is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "\"shape\" is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "given twice"},
        {"{\"a\":7}", 0, "an object with dtype"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "holds only strings"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is given twice"},
        {"[]", 0, "does not start a JSON object"},
        {"{\"a\":", 0, "ends in the middle"},
        {"{}x", 0, "text after the end"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        st_set *s = NULL;
        int rc = open_raw(cases[i].header, cases[i].data, &s);
        CHECK_MSG(rc == CO_E_FORMAT, "%s gives %d", cases[i].header, rc);
        CHECK_HAS(error_message(), cases[i].says);
        CHECK_HAS(error_message(), "raw.safetensors");
        if (rc == CO_OK) st_close(s);
    }
}

static void test_length_field(void)
{
    static const struct { unsigned char b[10]; size_t n; const char *says; } cases[] = {
        {{0}, 0, "too few"},
        {{2, 0, 0, 0, 0, 0, 0}, 7, "too few"},
        {{0}, 8, "does not start"},
        {{3, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10, "cut short"},
        {{0, 0, 0, 0, 0, 0, 0, 0x80, '{', '}'}, 10, "more than the format's"},
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{', '}'}, 10, "more than the format's"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        st_set *s;
        const char *path = tmp_path("length.safetensors");
        put_file(path, cases[i].b, cases[i].n);
        CHECK(st_open_file(path, &s) == CO_E_FORMAT);
        CHECK_HAS(error_message(), cases[i].says);
    }
}

static void write_small(const char *path)
{
    const int64_t ne[2] = {2, 3};
    const float v[6] = {1, -2, 3, 0.5f, 0, 1e9f};
    const uint16_t h[6] = {1, 2, 3, 4, 5, 6};
    st_writer *w;
    CHECK(st_write_begin(path, &w) == CO_OK);
    CHECK(st_write_meta(w, "format", "pt") == CO_OK);
    CHECK(st_write_declare(w, "a\"\\\n", CO_F32, 2, ne) == CO_OK);
    CHECK(st_write_declare(w, "b", CO_BF16, 2, ne) == CO_OK);
    CHECK(st_write_data(w, v, 8) == CO_OK); /* in pieces that end inside a tensor */
    CHECK(st_write_declare(w, "c", CO_F32, 2, ne) == CO_E_STATE);
    CHECK(st_write_data(w, (const char *)v + 8, 16) == CO_OK);
    CHECK(st_write_data(w, h, sizeof h) == CO_OK);
    CHECK(st_write_finish(w) == CO_OK);
}

static void test_round_trip(void)
{
    st_set *s = NULL;
    float v[6];
    char *data;
    size_t len;
    const char *path = tmp_path("made.safetensors");
    write_small(path);
    CHECK(st_open_file(path, &s) == CO_OK);
    if (!s) return;
    CHECK(st_read_f32(st_find(s, "a\"\\\n"), 0, 6, v) == CO_OK && v[1] == -2 && v[5] == 1e9f);
    CHECK(st_read_f32(st_find(s, "b"), 5, 1, v) == CO_OK && half_to_bits(v[0]) == 0x60000u);
    CHECK_STR(st_metadata(s, "format"), "pt");
    st_close(s);
    CHECK(fs_read_all(path, &data, &len, 1 << 20) == CO_OK);
    CHECK((unsigned char)data[0] % 8 == 0);
    mem_free(data);
}

/* Every single flipped bit and every cut of the header is refused or still describes the same bytes; none crashes
 * (the sanitizers watch). */
static void test_damage(void)
{
    char *data;
    size_t len, refused = 0, n = 0;
    const char *path = tmp_path("whole.safetensors"), *bad = tmp_path("bad.safetensors");
    write_small(path);
    CHECK(fs_read_all(path, &data, &len, 1 << 20) == CO_OK);
    size_t header = 8 + (size_t)(unsigned char)data[0] + 256u * (unsigned char)data[1];
    for (size_t cut = 0; cut < len; cut++) {
        st_set *s = NULL;
        put_file(bad, data, cut);
        CHECK(st_open_file(bad, &s) == CO_E_FORMAT);
    }
    for (size_t bit = 0; bit < 8 * header; bit++, n++) {
        st_set *s = NULL;
        data[bit / 8] ^= (char)(1 << bit % 8);
        put_file(bad, data, len);
        int rc = st_open_file(bad, &s);
        data[bit / 8] ^= (char)(1 << bit % 8);
        if (rc) {
            refused++;
            CHECK(rc == CO_E_FORMAT);
            CHECK_HAS(error_message(), "bad.safetensors");
            continue;
        }
        size_t bytes = 0;
        for (size_t i = 0; i < st_count(s); i++) bytes += st_at(s, i)->bytes;
        CHECK(bytes == len - header);
        st_close(s);
    }
    CHECK(refused > n / 2);
    mem_free(data);
}

static void test_conversions(void)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h), b = bf16_to_f32((uint16_t)h);
        if (isnan(f)) {
            if (!isnan(f16_to_f32(f16_from_f32(f)))) CHECK_MSG(0, "f16 NaN %x", h);
        } else if (f16_from_f32(f) != h) CHECK_MSG(0, "f16 %x -> %x", h, f16_from_f32(f));
        if (isnan(b)) {
            if (!isnan(bf16_to_f32(bf16_from_f32(b)))) CHECK_MSG(0, "bf16 NaN %x", h);
        } else if (bf16_from_f32(b) != h) CHECK_MSG(0, "bf16 %x -> %x", h, bf16_from_f32(b));
    }
    CHECK(f16_from_f32(65519.0f) == 0x7BFF && f16_from_f32(65520.0f) == 0x7C00);
    CHECK(f16_from_f32(0x1p-24f) == 1 && f16_from_f32(0x1p-25f) == 0 && f16_from_f32(0x1.8p-24f) == 2);
    CHECK(f16_from_f32(1.0f + 0x1p-11f) == 0x3C00 && f16_from_f32(1.0f + 0x3p-11f) == 0x3C02);
    CHECK(bf16_from_f32(1.0f + 0x1p-8f) == 0x3F80 && bf16_from_f32(1.0f + 0x3p-8f) == 0x3F82);
    CHECK(f16_to_f32(0x3555) == 0x1.554p-2f && f16_to_f32(0x8001) == -0x1p-24f);
}

static void test_writer_errors(void)
{
    const int64_t ne[1] = {4}, bad[1] = {-1};
    const float v[8] = {0};
    st_writer *w;
    const char *path = tmp_path("short.safetensors");
    CHECK(st_write_begin(path, &w) == CO_OK);
    CHECK(st_write_declare(w, "a", CO_F32, 1, ne) == CO_OK);
    CHECK(st_write_declare(w, "z", CO_F32, 1, bad) == CO_E_INVALID);
    CHECK(st_write_data(w, v, 8) == CO_OK);
    CHECK(st_write_finish(w) == CO_E_STATE);
    CHECK(!fs_is_file(path));
    CHECK(st_write_begin(path, &w) == CO_OK);
    CHECK(st_write_declare(w, "a", CO_F32, 1, ne) == CO_OK);
    CHECK(st_write_data(w, v, 17) == CO_E_STATE);
    st_write_abort(w);
    CHECK(!fs_is_file(path));
    CHECK(st_write_begin(path, &w) == CO_OK);
    CHECK(st_write_declare(w, "a", CO_F32, 1, ne) == CO_OK);
    CHECK(st_write_declare(w, "a", CO_F32, 1, ne) == CO_OK);
    CHECK(st_write_finish(w) == CO_E_INVALID);
    CHECK_HAS(error_message(), "declared twice");
    CHECK(st_write_begin("/nowhere/at/all/x", &w) == CO_E_IO);
}

/* /dev/full behind a link: the writer may remove the link, not the device. */
static void test_disk_full(void)
{
    const int64_t ne[1] = {4};
    const float v[4] = {0};
    st_writer *w;
    const char *path = tmp_path("full.safetensors");
    if (access("/dev/full", W_OK) != 0 || symlink("/dev/full", path) != 0) {
        printf("skipped: no /dev/full\n");
        return;
    }
    CHECK(st_write_begin(path, &w) == CO_OK);
    CHECK(st_write_declare(w, "a", CO_F32, 1, ne) == CO_OK);
    CHECK(st_write_data(w, v, sizeof v) == CO_E_NOMEM);
    CHECK_HAS(error_message(), "full.safetensors");
    CHECK(st_write_finish(w) == CO_E_NOMEM);
    CHECK(access(path, F_OK) != 0);
}

#define A4 "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"
static int open_index(const char *index, st_set **out)
{
    put_text(tmp_path("model.safetensors.index.json"), index);
    return st_open_dir(tmp_dir, out);
}

static void test_shards(void)
{
    st_set *s = NULL;
    static const struct { const char *index, *says; } bad[] = {
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"three.safetensors\"}}", "three.safetensors: missing"},
        {"{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}", "should be in"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"two.safetensors\"}}", "is in no shard"},
        {"{\"weight_map\":{\"a\":\"../one.safetensors\"}}", "not the name of a file in this folder"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "not the name of a file in this folder"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "not the name of a file in this folder"},
        {"{\"weight_map\":{\"a\":\"\"}}", "not the name of a file in this folder"},
        {"{\"weight_map\":{\"a\":1}}", "must be a string"},
        {"{\"weight_map\":[]}", "must be an object"},
        {"{\"weight_map\":{}}", "missing or empty"},
        {"{\"metadata\":{}}", "missing or empty"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}}", "listed twice"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"same.safetensors\",\"c\":\"same2.safetensors\"}}", "both in"},
        {"{\"weight_map\"", "model.safetensors.index.json:1:"},
    };
    put_raw(tmp_path("one.safetensors"), "{\"a\":" A4 "}", 4);
    put_raw(tmp_path("two.safetensors"), "{\"b\":" A4 "}", 4);
    put_raw(tmp_path("same.safetensors"), "{\"b\":" A4 "}", 4);
    put_raw(tmp_path("same2.safetensors"), "{\"b\":" A4 "}", 4);
    CHECK(open_index("{\"metadata\":{\"total_size\":8},\"weight_map\":{\"b\":\"two.safetensors\",\"a\":\"one.safetensors\"}}", &s) == CO_OK);
    CHECK(s && st_count(s) == 2 && st_find(s, "a") && st_find(s, "b"));
    st_close(s);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_MSG(open_index(bad[i].index, &s) == CO_E_FORMAT, "%s", bad[i].index);
        CHECK_HAS(error_message(), bad[i].says);
    }
    put_raw(tmp_path("two.safetensors"), "{\"b\":" A4 "}", 3);
    CHECK(open_index("{\"weight_map\":{\"b\":\"two.safetensors\",\"a\":\"one.safetensors\"}}", &s) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "two.safetensors: tensor \"b\"");
    unlink(tmp_path("model.safetensors.index.json"));
}

static void test_no_weights(void)
{
    st_set *s;
    CHECK(st_open_dir("/nowhere/at/all", &s) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "no such folder");
    CHECK(st_open_dir(tmp_dir, &s) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "neither model.safetensors");
    put_text(tmp_path("pytorch_model.bin"), "PK");
    CHECK(st_open_dir(tmp_dir, &s) == CO_E_FORMAT);
    CHECK_HAS(error_message(), "coati-convert");
    unlink(tmp_path("pytorch_model.bin"));
}

/* Each allocation fails once: an error, nothing leaked, nothing half made. */
static void test_out_of_memory(void)
{
    const char *path = tmp_path("oom.safetensors");
    write_small(path);
    int rc = CO_E_NOMEM, n;
    for (n = 1; n < 200 && rc; n++) {
        mem_counts before, after;
        st_set *s = NULL;
        mem_count(&before);
        mem_fail_after(n);
        rc = st_open_file(path, &s);
        mem_fail_after(0);
        if (rc) CHECK(rc == CO_E_NOMEM);
        if (rc == CO_OK) st_close(s);
        mem_count(&after);
        CHECK(after.live_bytes == before.live_bytes);
    }
    CHECK(rc == CO_OK && n > 3);
}

int main(void)
{
    tmp_make();
    test_reads();
    test_lies();
    test_length_field();
    test_round_trip();
    test_damage();
    test_conversions();
    test_writer_errors();
    test_disk_full();
    test_shards();
    test_no_weights();
    test_out_of_memory();
    tmp_remove();
    return check_done();
}
