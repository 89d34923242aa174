#include "board.h"
#include "core/base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t board_bytes(int32_t ranks) { return sizeof(board) + (size_t)ranks * sizeof(board_rank); }

static board *map(int fd, size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

int board_create(int32_t ranks, char path[static 64], board **out)
{
    const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, 64, "%s/coati-run-XXXXXX", dir);
    const int fd = mkstemp(path);
    board *b = fd >= 0 && ftruncate(fd, (off_t)board_bytes(ranks)) == 0 ? map(fd, board_bytes(ranks)) : NULL;
    const int r = b ? CO_OK : FAIL(CO_E_IO, "%s: cannot be made: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    if (fd >= 0 && !b) unlink(path);
    if (b) b->ranks = ranks;
    *out = b;
    return r;
}

board_rank *board_join(int32_t rank, board **all)
{
    const char *path = getenv(BOARD_ENV);
    const int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    board *b = fd >= 0 ? map(fd, sizeof *b) : NULL;
    *all = NULL;
    if (b) { /* its size is in it */
        const int32_t ranks = b->ranks;
        munmap(b, sizeof *b);
        b = rank >= 0 && rank < ranks ? map(fd, board_bytes(ranks)) : NULL;
    }
    if (fd >= 0) close(fd);
    if (!b) return NULL;
    board_rank *me = &b->at[rank];
    if (gethostname(me->node, sizeof me->node - 1)) snprintf(me->node, sizeof me->node, "?");
    me->pid = (int32_t)getpid();
    __sync_synchronize();
    me->state = BOARD_RUNNING;
    *all = b;
    return me;
}

void board_end(board *b, board_rank *me, int code, const char *text)
{
    if (text) {
        snprintf(me->text, sizeof me->text, "%s", text);
        me->order = __sync_add_and_fetch(&b->said, 1);
    }
    me->code = code;
    __sync_synchronize();
    me->state = BOARD_ENDED;
}
