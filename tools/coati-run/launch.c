#include "launch.h"
#include "board.h"
#include "core/base/error.h"
#include "core/base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct launched {
    int nproc;
    pid_t mpirun;
    int out;              /* what mpirun and the ranks write to stderr */
    board *ranks;
    struct pollfd *fds;   /* [1 + nproc] out, then ranks that have come forward: their ends */
    char *told;           /* [nproc] the signal has been passed on */
    int lost;             /* rank that ended without a word while nobody had said anything; -1: none */
    int64_t lost_at;      /* its step */
    /* mpirun's own messages stand between lines of dashes: kept apart. */
    int in_block, dashes, keep_noise;
    char noise[8192];
    size_t n_noise;
} launched;

static volatile sig_atomic_t signals, last_signal;
static void on_signal(int n)
{
    last_signal = n;
    signals = signals + 1;
}

/* ---- starting ---------------------------------------------------------------------------------------------------------- */
static void set_default(const char *name, const char *value) { setenv(name, value, 0); }

/* One machine: its cores are shared among the ranks' threads, waiting ranks leave theirs to others, messages go by memory. */
static void prepare_environment(int nproc, const char *board_path)
{
    cpu_set_t set;
    char threads[16];
    const int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    snprintf(threads, sizeof threads, "%d", cores / nproc > 0 ? cores / nproc : 1);
    set_default("OMP_NUM_THREADS", threads);
    set_default("OMPI_MCA_mpi_yield_when_idle", "1");
    set_default("OMPI_MCA_pml", "ob1");
    set_default("OMPI_MCA_btl", "self,vader");
    setenv(BOARD_ENV, board_path, 1);
    if (isatty(STDERR_FILENO)) setenv("COATI_TERMINAL", "1", 1);
}

static char **command(int nproc, char *const *args)
{
    static char *const front[] = {"mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n"};
    enum { FRONT = sizeof front / sizeof *front };
    size_t n = 0;
    while (args[n]) n++;
    char **out = mem_calloc(n + FRONT + 3, sizeof *out);
    if (!out) return NULL;
    memcpy(out, front, sizeof front);
    out[FRONT] = mem_printf("%d", nproc);
    out[FRONT + 1] = mem_calloc(4096, 1);
    if (!out[FRONT] || !out[FRONT + 1] || readlink("/proc/self/exe", out[FRONT + 1], 4095) < 0) return NULL; /* the program ends */
    memcpy(out + FRONT + 2, args, n * sizeof *args);
    return out;
}

static int start(launched *l, char *const *args, const char *board_path)
{
    int out[2];
    char **const list = command(l->nproc, args);
    const char *name = getenv("COATI_MPIRUN");
    if (!list) return CO_E_NOMEM;
    if (pipe2(out, O_CLOEXEC)) return FAIL(CO_E_IO, "a pipe cannot be made: %s", strerror(errno));
    prepare_environment(l->nproc, board_path);
    l->mpirun = fork();
    if (l->mpirun < 0) return FAIL(CO_E_NOMEM, "a process cannot be started: %s", strerror(errno));
    if (l->mpirun == 0) {
        setpgid(0, 0); /* a terminal's signals come to this program alone, which passes them on */
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        const int null = open("/dev/null", O_RDONLY);
        if (null >= 0) dup2(null, STDIN_FILENO);
        dup2(out[1], STDERR_FILENO);
        execvp(name ? name : "mpirun", list);
        dprintf(STDERR_FILENO, "coati-run: %s cannot be started: %s. --nproc needs Open MPI: tools/deps.sh installs it (openmpi-bin)\n",
                name ? name : "mpirun", strerror(errno));
        _exit(127);
    }
    close(out[1]);
    l->out = out[0];
    mem_free(list[7]);
    mem_free(list[6]);
    mem_free(list);
    return CO_OK;
}

/* ---- what is written ----------------------------------------------------------------------------------------------------- */
static void pass(launched *l, const char *p, size_t n)
{
    if (n && l->in_block && !l->keep_noise) {
        const size_t m = n < sizeof l->noise - l->n_noise ? n : sizeof l->noise - l->n_noise;
        memcpy(l->noise + l->n_noise, p, m);
        l->n_noise += m;
    } else if (n && write(STDERR_FILENO, p, n) < 0) { /* nobody is looking */
    }
}

/* dashes: of the line so far, -1: it has others. They are held back until it is known what they are. */
static void filter(launched *l, const char *p, size_t n)
{
    static const char line[] = "--------------------------------------------------------------------------------";
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '-' && l->dashes >= 0) {
            pass(l, p + from, i - from);
            from = i + 1;
            l->dashes++;
            continue;
        }
        const int whole = p[i] == '\n' && l->dashes >= 70;
        if (l->dashes > 0 && !whole)
            for (int k = l->dashes; k > 0; k -= 80) pass(l, line, (size_t)(k < 80 ? k : 80));
        if (whole) {
            from = i + 1;
            l->in_block = !l->in_block;
        }
        l->dashes = p[i] == '\n' ? 0 : -1;
    }
    pass(l, p + from, n - from);
}

static int read_some(launched *l)
{
    char text[4096];
    const ssize_t n = read(l->out, text, sizeof text);
    if (n > 0) filter(l, text, (size_t)n);
    return n > 0 || (n < 0 && errno == EINTR);
}

/* ---- watching ------------------------------------------------------------------------------------------------------------- */
static void greet(launched *l)
{
    for (int i = 0; i < l->nproc; i++) {
        const board_rank *k = &l->ranks->at[i];
        if (k->state == BOARD_ABSENT) continue;
        if (l->fds[1 + i].fd == -1) {
            l->fds[1 + i].fd = pidfd_open(k->pid, 0);
            if (l->fds[1 + i].fd < 0) l->fds[1 + i].fd = -2; /* gone already, or an old kernel */
        }
        if (signals && !l->told[i] && k->state == BOARD_RUNNING) {
            l->told[i] = 1;
            kill(k->pid, last_signal);
        }
    }
}

static void note_lost(launched *l)
{
    for (int i = 0; i < l->nproc; i++) {
        if (!(l->fds[1 + i].revents & POLLIN)) continue;
        if (l->ranks->at[i].state == BOARD_RUNNING && l->lost < 0 && l->ranks->said == 0) {
            l->lost = i;
            l->lost_at = l->ranks->at[i].step;
        }
        close(l->fds[1 + i].fd);
        l->fds[1 + i].fd = -2;
    }
}

/* mpirun does not always wait for those it has told to go. */
static void clear_away(launched *l)
{
    greet(l);
    for (int i = 0; i < l->nproc; i++) {
        struct pollfd p = {.fd = l->fds[1 + i].fd, .events = POLLIN};
        if (p.fd < 0) continue;
        if (poll(&p, 1, 500) == 0) { /* an ordinary end takes a moment */
            kill(l->ranks->at[i].pid, SIGKILL);
            (void)poll(&p, 1, 5000);
        }
        close(p.fd);
        l->fds[1 + i].fd = -2;
    }
}

static int watch(launched *l)
{
    int status = 0, hurried = 0, open_pipe = 1;
    for (;;) {
        greet(l);
        if (signals > 1 && hurried < signals) { /* somebody has no patience */
            kill(l->mpirun, signals > 2 ? SIGKILL : SIGTERM);
            hurried = signals;
        }
        l->fds[0] = (struct pollfd){.fd = open_pipe ? l->out : -1, .events = POLLIN};
        for (int i = 1; i <= l->nproc; i++) l->fds[i].events = POLLIN, l->fds[i].revents = 0;
        if (poll(l->fds, (nfds_t)l->nproc + 1, 50) > 0) {
            note_lost(l);
            if (l->fds[0].revents && !read_some(l)) open_pipe = 0;
        }
        if (waitpid(l->mpirun, &status, WNOHANG) == l->mpirun) break;
    }
    clear_away(l);
    struct pollfd rest = {.fd = l->out, .events = POLLIN};
    while (open_pipe && poll(&rest, 1, 200) > 0) open_pipe = read_some(l);
    return status;
}

/* ---- the end ---------------------------------------------------------------------------------------------------------------- */
static int sum_up(launched *l, int status)
{
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    const board_rank *k = l->ranks->at;
    int ended = 0, alike = 1;
    for (int i = 0; i < l->nproc; i++)
        if (k[i].order == 1) return fprintf(stderr, "coati-run: %s\n", k[i].text), k[i].code;
    for (int i = 0; i < l->nproc; i++) {
        ended += k[i].state == BOARD_ENDED;
        alike = alike && k[i].code == k[0].code;
    }
    if (ended == l->nproc && alike && (k[0].code || code == 0)) return k[0].code;
    if (signals > 1 || (signals && ended == 0)) return 128 + last_signal;
    if (l->lost >= 0) {
        char step[32] = "";
        if (l->lost_at > 0) snprintf(step, sizeof step, ", step %lld", (long long)l->lost_at);
        if (code > 128 && code < 128 + 65)
            fprintf(stderr, "coati-run: rank %d on %s%s: killed by signal %d (%s); the other ranks were stopped\n", l->lost, k[l->lost].node, step, code - 128, strsignal(code - 128));
        else fprintf(stderr, "coati-run: rank %d on %s%s: ended without a word; the other ranks were stopped\n", l->lost, k[l->lost].node, step);
        return 1;
    }
    if (l->n_noise) fprintf(stderr, "%.*s", (int)l->n_noise, l->noise);
    if (code != 127) fprintf(stderr, "coati-run: mpirun ended with code %d\n", code);
    return code ? 1 : 0;
}

int launch(int nproc, char *const *args, int keep_noise)
{
    launched l = {.nproc = nproc, .lost = -1, .keep_noise = keep_noise, .fds = mem_calloc((size_t)nproc + 1, sizeof *l.fds), .told = mem_calloc((size_t)nproc, 1)};
    const struct sigaction act = {.sa_handler = on_signal};
    char path[64] = "";
    int r = l.fds && l.told ? board_create(nproc, path, &l.ranks) : CO_E_NOMEM;
    for (int i = 1; i <= nproc && l.fds; i++) l.fds[i].fd = -1;
    if (r == CO_OK) {
        sigaction(SIGINT, &act, NULL);
        sigaction(SIGTERM, &act, NULL);
        sigaction(SIGUSR1, &act, NULL);
        r = start(&l, args, path);
    }
    int code = 0;
    if (r == CO_OK) code = sum_up(&l, watch(&l));
    else fprintf(stderr, "coati-run: %s\n", error_message());
    if (path[0]) unlink(path);
    mem_free(l.told);
    mem_free(l.fds);
    return r ? error_exit_code(r) : code;
}
