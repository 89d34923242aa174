#include "place.h"
#include <string.h>
#include <unistd.h>

int mpi_begin(const co_host *h, const char *who)
{
    int there = 0, over = 0, level = 0;
    MPI_Initialized(&there);
    MPI_Finalized(&over);
    if (over) return CO_FAIL(h, CO_E_STATE, "comm %s: MPI has ended in this process and cannot begin again", who);
    if (!there && MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level) != MPI_SUCCESS)
        return CO_FAIL(h, CO_E_COMM, "comm %s: MPI_Init_thread failed", who);
    return CO_OK;
}

void mpi_end(void)
{
    int there = 0, over = 0;
    MPI_Initialized(&there);
    MPI_Finalized(&over);
    if (there && !over) MPI_Finalize();
}

int mpi_find_place(MPI_Comm comm, mpi_place *out)
{
    MPI_Comm node;
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(comm, &out->rank);
    MPI_Comm_size(comm, &out->world);
    MPI_Comm_rank(MPI_COMM_WORLD, &out->world_rank);
    memset(out->node, 0, sizeof out->node);
    gethostname(out->node, sizeof out->node - 1);
    const int e = MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, out->rank, MPI_INFO_NULL, &node);
    if (e) return e;
    MPI_Comm_rank(node, &out->local_rank);
    MPI_Comm_size(node, &out->local_world);
    return MPI_Comm_free(&node);
}
