/* test_arena.c: arenas: alignment, growth, reuse after a reset, refusal when there is no memory. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/memory.h"

static uint64_t allocs(void)
{
    mem_counts c;
    mem_count(&c);
    return c.allocs;
}

static void test_pieces_do_not_meet(void)
{
    co_arena *a = arena_new(256);
    unsigned char *p[200];
    size_t n[200];
    for (int i = 0; i < 200; i++) {
        const size_t align = (size_t)1 << (i % 9);
        n[i] = (size_t)(i * 7 % 61);
        p[i] = arena_push(a, n[i], align);
        CHECK(p[i] && (uintptr_t)p[i] % align == 0);
        if (p[i]) memset(p[i], i, n[i]);
    }
    int whole = 1;
    for (int i = 0; i < 200; i++)
        for (size_t k = 0; k < n[i]; k++) whole &= p[i][k] == (unsigned char)i;
    CHECK(whole);
    arena_free(a);
}

static void test_a_reset_keeps_the_blocks(void)
{
    co_arena *a = arena_new(128);
    for (int i = 0; i < 50; i++) (void)arena_push(a, 60, 8);
    (void)arena_push(a, 5000, 64); /* larger than a block */
    const size_t held = arena_bytes(a);
    const uint64_t before = allocs();
    CHECK(held >= 50 * 60 + 5000);
    for (int round = 0; round < 100; round++) {
        arena_reset(a);
        for (int i = 0; i < 50; i++) CHECK(arena_push(a, 60, 8) != NULL);
        CHECK(arena_push(a, 5000, 64) != NULL);
    }
    CHECK(allocs() == before);
    CHECK(arena_bytes(a) == held);
    arena_free(a);
}

static void test_no_memory(void)
{
    co_arena *a = arena_new(64);
    char *p = arena_push(a, 10, 1);
    memcpy(p, "still here", 10);
    for (int n = 1; n <= 2; n++) { /* a block's head, then its bytes */
        mem_fail_after(n);
        CHECK(arena_push(a, 1000, 1) == NULL);
        mem_fail_after(0);
    }
    CHECK(arena_push(a, SIZE_MAX - 8, 8) == NULL);
    CHECK_HAS(error_message(), "out of memory");
    CHECK(arena_push(a, SIZE_MAX, 1) == NULL);
    CHECK(memcmp(p, "still here", 10) == 0);
    CHECK(arena_push(a, 1000, 1) != NULL);
    arena_free(a);
    mem_fail_after(1);
    CHECK(arena_new(64) == NULL);
    arena_free(NULL);
}

static void test_text(void)
{
    co_arena *a = arena_new(0);
    CHECK_STR(arena_strndup(a, "abcdef", 3), "abc");
    CHECK_STR(arena_strndup(a, "", 0), "");
    CHECK_STR(arena_printf(a, "%05.1f|%s", 2.25, "x"), "002.2|x");
    char *s = arena_printf(a, "%9000d", 5);
    CHECK(s && strlen(s) == 9000);
    arena_free(a);
}

int main(void)
{
    mem_counts before, after;
    mem_count(&before);
    test_pieces_do_not_meet();
    test_a_reset_keeps_the_blocks();
    test_no_memory();
    test_text();
    mem_count(&after);
    CHECK(after.live_bytes == before.live_bytes);
    return check_done();
}
