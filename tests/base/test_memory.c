/* test_memory.c: counted allocations: what is handed out, what is counted, and what happens when there is none. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/memory.h"

static mem_counts counts(void)
{
    mem_counts c;
    mem_count(&c);
    return c;
}

static void test_alignment_and_zeroes(void)
{
    for (size_t align = 1; align <= 4096; align *= 2) {
        unsigned char *p = mem_alloc(333, align), sum = 0;
        CHECK(p && (uintptr_t)p % align == 0);
        for (int i = 0; p && i < 333; i++) sum |= p[i];
        CHECK(sum == 0);
        if (p) memset(p, 0xff, 333); /* a sanitizer sees writes beyond */
        mem_free(p);
    }
    mem_free(NULL);
}

static void test_counts(void)
{
    const mem_counts before = counts();
    void *a = mem_alloc(1000, 256), *b = mem_alloc(24, 0);
    mem_counts now = counts();
    CHECK(now.allocs == before.allocs + 2);
    CHECK(now.frees == before.frees);
    CHECK(now.live_bytes == before.live_bytes + 1024); /* bytes asked for, without the allocator's own */
    CHECK(now.peak_bytes >= now.live_bytes);
    mem_free(a);
    mem_free(b);
    now = counts();
    CHECK(now.frees == before.frees + 2);
    CHECK(now.live_bytes == before.live_bytes);
    CHECK(now.peak_bytes >= before.live_bytes + 1024);
}

static void test_growing(void)
{
    const mem_counts before = counts();
    int *p = mem_grow(NULL, 0, 4, sizeof *p);
    for (int i = 0; p && i < 4; i++) p[i] = i + 1;
    p = mem_grow(p, 4, 9, sizeof *p);
    for (int i = 0; p && i < 9; i++) CHECK(p[i] == (i < 4 ? i + 1 : 0));
    p = mem_grow(p, 9, 2, sizeof *p);
    CHECK(p && p[0] == 1 && p[1] == 2);
    mem_free(p);
    CHECK(counts().live_bytes == before.live_bytes);
}

static void test_sizes_that_cannot_be(void)
{
    const mem_counts before = counts();
    CHECK(mem_calloc(SIZE_MAX / 2, 3) == NULL);
    CHECK_HAS(error_message(), "out of memory");
    CHECK(mem_calloc((size_t)1 << 32, (size_t)1 << 32) == NULL); /* the product is 0 modulo 2^64 */
    CHECK(mem_alloc(SIZE_MAX, 0) == NULL);
    CHECK(mem_alloc(SIZE_MAX - 20, 64) == NULL);
    CHECK(mem_grow(NULL, 0, SIZE_MAX / 4, 8) == NULL);
    CHECK(counts().allocs == before.allocs);
    void *p = mem_alloc(0, 0); /* nothing is something that can be freed */
    CHECK(p != NULL);
    mem_free(p);
    p = mem_calloc(0, 8);
    CHECK(p != NULL);
    mem_free(p);
}

static void test_failing_the_nth(void)
{
    for (int n = 1; n <= 3; n++) {
        void *p[4];
        mem_fail_after(n);
        for (int i = 0; i < 4; i++) p[i] = mem_alloc(8, 0);
        for (int i = 0; i < 4; i++) CHECK((p[i] == NULL) == (i == n - 1)); /* that one and no later one */
        for (int i = 0; i < 4; i++) mem_free(p[i]);
    }
    mem_fail_after(1);
    (void)error_set(CO_E_IO, __FILE__, __LINE__, "something else");
    CHECK(mem_alloc(77, 0) == NULL);
    CHECK_HAS(error_message(), "77 bytes");
    mem_fail_after(1);
    mem_fail_after(0);
    void *p = mem_alloc(8, 0);
    CHECK(p != NULL);
    mem_free(p);
}

static void test_a_failed_growth_keeps_the_old(void)
{
    int *p = mem_calloc(2, sizeof *p);
    p[1] = 7;
    mem_fail_after(1);
    CHECK(mem_grow(p, 2, 100, sizeof *p) == NULL);
    CHECK(p[1] == 7);
    mem_free(p);
}

static void test_text(void)
{
    char *s = mem_strdup(""), *t = mem_printf("%s-%d", "abc", 42);
    CHECK(s && *s == 0);
    CHECK(t && strcmp(t, "abc-42") == 0);
    mem_free(t);
    t = mem_printf("%4000d", 1);
    CHECK(t && strlen(t) == 4000);
    mem_free(t);
    mem_free(s);
    mem_fail_after(1);
    CHECK(mem_printf("%d", 1) == NULL);
    mem_fail_after(1);
    CHECK(mem_strdup("x") == NULL);
}

int main(void)
{
    const mem_counts before = counts();
    test_alignment_and_zeroes();
    test_counts();
    test_growing();
    test_sizes_that_cannot_be();
    test_failing_the_nth();
    test_a_failed_growth_keeps_the_old();
    test_text();
    CHECK(counts().live_bytes == before.live_bytes);
    return check_done();
}
