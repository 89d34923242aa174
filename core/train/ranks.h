/* ranks.h: what the ranks of a run tell each other beside gradients: whether all is well, whether they are the same run, sums of
 * metrics. Every function but ranks_comm and ranks_comm_auto is collective, and nothing but its answer where there is one rank. [main] */
#ifndef CORE_TRAIN_RANKS_H
#define CORE_TRAIN_RANKS_H
#include "core/train/run.h"

/* The comm plugin [run] comm stands for. */
const char *ranks_comm(run *r);
/* What auto is: under a launcher that speaks PMIx or PMI (mpirun, srun --mpi=pmix) nccl for an async backend where it is installed,
 * else mpi; without one self. */
const char *ranks_comm_auto(host *h, const co_backend_vt *be);
/* Fills rank, world and node from the comm. */
int ranks_open(run *r);
/* status: how this rank fared. CO_OK if all fared well. Otherwise the same code and message on every rank, that of the lowest
 * rank that failed, named with its host unless all failed alike; r->together is set. */
int ranks_agree(run *r, int status);
/* Holds this rank's build, configuration and data against rank 0's; agrees. */
int ranks_same_run(run *r);
/* A number that must be rank 0's too: CO_E_FORMAT "WHAT is N here and M on rank 0: ADVICE"; agrees. */
int ranks_same_number(run *r, const char *what, int64_t n, const char *advice);
int ranks_sum(run *r, double *v, int64_t n); /* of all ranks, in rank order */
#endif
