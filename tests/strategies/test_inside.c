/* test_inside.c: what the family of zero strategies stands on: places that never overlap while both are in use, and the
 * states a gathered bucket may go through, all 25 pairs. */
#include "check.h"
#include "core/base/error.h"
#include "../../strategies/zero/zero.h"

static void test_places(void)
{
    uint64_t seed = 1;
    for (int round = 0; round < 300; round++) {
        zero_stay s[24];
        const int32_t period = 5 + round % 20;
        size_t most = 0;
        for (int i = 0; i < 24; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            const int32_t from = (int32_t)(seed >> 33) % period, n = (int32_t)(seed >> 40) % (i % 5 ? 4 : period);
            s[i] = (zero_stay){.bucket = (uint32_t)i, .from = from, .to = from + (n < period ? n : period - 1), .bytes = 256 * (1 + (seed >> 50) % 40)};
        }
        const size_t total = zero_place(s, 24, period);
        for (int32_t at = 0; at < period; at++) {
            size_t load = 0;
            for (int i = 0; i < 24; i++) {
                if (!((s[i].from <= at && at <= s[i].to) || (s[i].from <= at + period && at + period <= s[i].to))) continue;
                load += s[i].bytes;
                CHECK(s[i].at % 256 == 0 && s[i].at + s[i].bytes <= total);
                for (int k = 0; k < i; k++)
                    if ((s[k].from <= at && at <= s[k].to) || (s[k].from <= at + period && at + period <= s[k].to))
                        CHECK(s[k].at + s[k].bytes <= s[i].at || s[i].at + s[i].bytes <= s[k].at);
            }
            if (load > most) most = load;
        }
        CHECK_MSG(total >= most && total <= 2 * most, "%zu bytes for %zu at once", total, most);
    }
}

static int fail(const co_host *h, int code, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    (void)h;
    va_start(ap, fmt);
    error_setv(code, file, line, fmt, ap);
    va_end(ap);
    return code;
}

static void test_states(void)
{
    static const char table[5][6] = {"01100", "10100", "01010", "10101", "01000"}; /* [from][to] */
    const co_host host = {.struct_size = sizeof host, .fail = fail};
    const zero_policy policy = {.name = "gemini"};
    co_param_slot slot = {.name = "h.3.weight"};
    uint32_t member = 0;
    zero z = {.a.host = &host, .policy = &policy, .slots = &slot, .members = &member};
    char here;
    for (int from = 0; from < 5; from++)
        for (int to = 0; to < 5; to++) {
            zero_bucket b = {.state = (uint8_t)from, .here = &here};
            const int r = zero_move(&z, &b, (zero_chunk_state)to);
            if (table[from][to] == '1') CHECK(r == CO_OK && b.state == to && (b.here == NULL) == (to == ZERO_FREE));
            else CHECK(r == CO_E_STATE && b.state == from && strstr(error_message(), "'h.3.weight' cannot go from"));
        }
}

int main(void)
{
    test_places();
    test_states();
    return check_done();
}
