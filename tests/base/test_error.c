/* test_error.c: messages: the first cause with its context, one a thread, and the exit codes they become. */
#include "check.h"
#include "core/base/error.h"
#include <pthread.h>

static void test_the_code_goes_through(void)
{
    CHECK(FAIL(CO_E_FORMAT, "row %d", 7) == CO_E_FORMAT);
    CHECK_STR(error_message(), "row 7");
    CHECK_HAS(error_where(), "test_error.c:");
    CHECK(strchr(error_where(), '/') == NULL);
    CHECK(error_prefix(CO_E_FORMAT, "%s", "data.json") == CO_E_FORMAT);
    CHECK_STR(error_message(), "data.json: row 7");
}

static void test_a_message_made_of_the_last(void)
{
    (void)FAIL(CO_E_IO, "disk on fire");
    (void)FAIL(CO_E_IO, "checkpoint: %s; nothing was lost", error_message());
    CHECK_STR(error_message(), "checkpoint: disk on fire; nothing was lost");
}

static void test_long_messages_end(void)
{
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    (void)FAIL(CO_E_IO, "%s", text);
    const size_t n = strlen(error_message());
    CHECK(n > 1000 && n < 4096);
    (void)error_prefix(CO_E_IO, "file");
    CHECK(strncmp(error_message(), "file: xxx", 9) == 0);
    CHECK(strlen(error_message()) < 4096);
    (void)FAIL(CO_E_IO, "cause");
    (void)error_prefix(CO_E_IO, "%s", text); /* a prefix too long to help leaves the cause alone */
    CHECK_STR(error_message(), "cause");
}

static void test_taking(void)
{
    char small[6], none = '?';
    (void)FAIL(CO_E_IO, "a long cause");
    error_take(small, sizeof small);
    CHECK_STR(small, "a lon");
    error_take(&none, 0);
    CHECK(none == '?');
}

static void *other_thread(void *unused)
{
    (void)unused;
    CHECK_STR(error_message(), "");
    (void)FAIL(CO_E_IO, "theirs");
    return NULL;
}

static void test_a_message_a_thread(void)
{
    pthread_t t;
    (void)FAIL(CO_E_IO, "mine");
    CHECK(pthread_create(&t, NULL, other_thread, NULL) == 0);
    pthread_join(t, NULL);
    CHECK_STR(error_message(), "mine");
}

/* interface.md: 0 done, 1 run time, 2 command line or configuration, 3 data or model file, 4 memory or disk. */
static void test_exit_codes(void)
{
    static const struct { int status, code; } want[] = {
        {CO_OK, 0}, {CO_END, 0}, {CO_E_INVALID, 1}, {CO_E_CONFIG, 2}, {CO_E_NOMEM, 4}, {CO_E_IO, 1}, {CO_E_FORMAT, 3},
        {CO_E_UNSUPPORTED, 2}, {CO_E_DEVICE, 1}, {CO_E_COMM, 1}, {CO_E_ABI, 2}, {CO_E_STATE, 1}, {-99, 1}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        CHECK_MSG(error_exit_code(want[i].status) == want[i].code, "status %d gives %d, want %d", want[i].status,
                  error_exit_code(want[i].status), want[i].code);
}

int main(void)
{
    test_the_code_goes_through();
    test_a_message_made_of_the_last();
    test_long_messages_end();
    test_taking();
    test_a_message_a_thread();
    test_exit_codes();
    return check_done();
}
