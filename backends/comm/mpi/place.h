/* place.h: MPI's beginning and end in a process, and where a rank is: shared by the comm plugins that stand on MPI. */
#ifndef COMM_MPI_PLACE_H
#define COMM_MPI_PLACE_H
#include <coati/coati.h>
#include <mpi.h>

typedef struct mpi_place {
    int rank, world;             /* in the communicator */
    int world_rank;              /* among all ranks of the run, for messages */
    int local_rank, local_world; /* among the communicator's ranks that share this node's memory */
    char node[64];
} mpi_place;

/* Begins MPI if nobody has. `who`: the plugin, for messages. */
int mpi_begin(const co_host *h, const char *who);
/* Ends it, if it lives: it cannot begin again in this process. */
void mpi_end(void);
/* Collective. The communicator returns errors from now on. Gives MPI's status. */
int mpi_find_place(MPI_Comm comm, mpi_place *out);
#endif
