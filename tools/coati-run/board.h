/* board.h: what ranks tell the coati-run that started them, in memory all of them map: who they are, at which step, and how they
 * ended. So that its exit code and message are theirs, whatever mpirun makes of it. */
#ifndef COATI_RUN_BOARD_H
#define COATI_RUN_BOARD_H
#include <stdint.h>

enum { BOARD_ABSENT = 0, BOARD_RUNNING, BOARD_ENDED };

typedef struct board_rank {
    volatile int32_t pid, state; /* BOARD_*; pid is there when state is */
    volatile int32_t code, order; /* code: of its exit; order: from 1, of ranks with something to say; 0: none */
    volatile int64_t step;       /* under way; 0: not begun */
    char node[64], text[4096];
} board_rank;

typedef struct board {
    int32_t ranks, pad;
    volatile int32_t said;
    int32_t pad2;
    board_rank at[];
} board;

#define BOARD_ENV "COATI_BOARD"
int board_create(int32_t ranks, char path[static 64], board **out); /* CO_E_IO */
board_rank *board_join(int32_t rank, board **all); /* NULL: nobody asked */
/* How this rank ended, and (text may be NULL) what is to be said about it. */
void board_end(board *b, board_rank *me, int code, const char *text);
#endif
