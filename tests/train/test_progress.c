/* test_progress.c: what goes to stderr: a plain line for each logged step, a bar for every one, nothing when off. */
#include "check.h"
#include "core/base/log.h"
#include "core/train/options.h"
#include "core/train/progress.h"
#include <unistd.h>

/* Runs six steps, every third logged, with stderr in a file; returns what was written. */
static const char *run(int mode, int level)
{
    static char text[4096];
    FILE *f = tmpfile();
    const int was = dup(STDERR_FILENO);
    log_level_set(level);
    dup2(fileno(f), STDERR_FILENO);
    progress_open(mode);
    for (int64_t s = 1; s <= 6; s++) {
        const metrics_step m = {.step = s, .loss = (double)s, .tokens_per_s = 100, .mem_host_bytes = (uint64_t)3 << 29};
        progress_step(s, 6, &m, 30, s % 3 == 0);
        if (s == 3) progress_note("a note");
    }
    progress_close();
    dup2(was, STDERR_FILENO);
    close(was);
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}
static int count(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)) != NULL; text++) n++;
    return n;
}

int main(void)
{
    const char *text = run(PROGRESS_PLAIN, CO_LOG_INFO);
    CHECK(count(text, "step ") == 2 && count(text, "\n") == 3);
    CHECK_HAS(text, "step 3/6  loss 3.0000");
    CHECK_HAS(text, "1.50 GiB  01:30 left\n");
    CHECK_HAS(text, "step 6/6");
    CHECK_HAS(text, "coati: a note\n");
    CHECK(strchr(text, '\r') == NULL && strchr(text, '\033') == NULL);

    text = run(PROGRESS_BAR, CO_LOG_INFO);
    CHECK(count(text, "\rstep") == 0 && count(text, "step ") == 6);
    CHECK_HAS(text, "\r#################### step 6/6");
    CHECK_HAS(text, "\r\033[Kcoati: a note\n"); /* the bar steps aside */

    text = run(PROGRESS_AUTO, CO_LOG_INFO); /* a file is no terminal */
    CHECK(count(text, "step ") == 2);
    CHECK_STR(run(PROGRESS_OFF, CO_LOG_INFO), "");
    CHECK_STR(run(PROGRESS_PLAIN, CO_LOG_WARN), ""); /* -q */
    return check_done();
}
