/* team.h: a comm for ranks that are threads of one process. Sums are made in rank order, in fp32 for fp32 and 16 bits. It counts
 * what each rank must send at least, and a rank that gives up sets the others free. */
#ifndef TESTS_STRATEGIES_TEAM_H
#define TESTS_STRATEGIES_TEAM_H
#include <coati/coati.h>
#include <pthread.h>

#define TEAM_MOST 8

typedef struct team team;
typedef struct team_member {
    team *team;
    int32_t rank;
    double sent; /* bytes: (N-1)/N of the whole for reduce_scatter and all_gather, twice that for all_reduce */
    long calls;
    const co_backend_vt *be; /* whose device memory is not the host's: buffers pass through host memory; NULL: they are read where they are */
    void *be_self;
} team_member;

struct team {
    int32_t world;
    pthread_mutex_t mu;
    pthread_cond_t changed;
    int32_t waiting;
    long round;
    int broken;
    const void *in[TEAM_MOST];
    int64_t n[TEAM_MOST];
    int what[TEAM_MOST];
    team_member member[TEAM_MOST];
};

void team_open(team *t, int32_t world);
void team_close(team *t);
extern const co_comm_vt team_comm; /* self: a team_member */
#endif
