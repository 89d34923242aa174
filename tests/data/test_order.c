/* The epoch's permutation: a permutation for any n, and an even one. */
#include "check.h"
#include "core/data/order.h"

static void test_permutation(void)
{
    static unsigned char seen[5000];
    const int64_t sizes[] = { 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 1000, 4096, 4097, 5000 };
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            int64_t hits = 0;
            memset(seen, 0, sizeof seen);
            for (int64_t i = 0; i < sizes[k]; i++) {
                int64_t at = order_at(7, epoch, sizes[k], i);
                if (at >= 0 && at < sizes[k] && !seen[at]) {
                    seen[at] = 1;
                    hits++;
                }
            }
            CHECK_MSG(hits == sizes[k], "n = %d, epoch %d: %d", (int)sizes[k], (int)epoch, (int)hits);
        }
    }
}

/* Chi-squared of the record at one place over many seeds: 9 degrees of freedom, 27.9 is exceeded once in 1000. */
static void test_uniform(void)
{
    for (int pos = 0; pos < 10; pos += 3) {
        double chi = 0;
        int count[10] = { 0 };
        for (uint64_t seed = 0; seed < 5000; seed++) count[order_at(seed, 1, 10, pos)]++;
        for (int i = 0; i < 10; i++) chi += (count[i] - 500.0) * (count[i] - 500.0) / 500.0;
        CHECK_MSG(chi < 27.9, "place %d: %.1f", pos, chi);
    }
}

/* The same for a full domain without walking: n = 256, in 64 groups: 63 degrees of freedom, 103.4. */
static void test_uniform_full(void)
{
    for (int pos = 1; pos < 256; pos += 64) {
        double chi = 0;
        int count[64] = { 0 };
        for (uint64_t seed = 0; seed < 6400; seed++) count[order_at(seed, 0, 256, pos) / 4]++;
        for (int i = 0; i < 64; i++) chi += (count[i] - 100.0) * (count[i] - 100.0) / 100.0;
        CHECK_MSG(chi < 103.4, "place %d: %.1f", pos, chi);
    }
}

/* Neighbours do not stay neighbours: the pair (record of place 0, of place 1) over 6 x 5 possibilities, 29 degrees
 * of freedom, 58.3 is exceeded once in 1000. */
static void test_pairs(void)
{
    double chi = 0;
    int count[6][6] = { { 0 } };
    for (uint64_t seed = 0; seed < 6000; seed++) count[order_at(seed, 0, 6, 0)][order_at(seed, 0, 6, 1)]++;
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            if (i != j) chi += (count[i][j] - 200.0) * (count[i][j] - 200.0) / 200.0;
    CHECK_MSG(chi < 58.3, "%.1f", chi);
}

int main(void)
{
    test_permutation();
    test_uniform();
    test_uniform_full();
    test_pairs();
    return check_done();
}
