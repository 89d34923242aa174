/* same_run.h: two configurations, as config_print writes them, held against each other. */
#ifndef CORE_TRAIN_SAME_RUN_H
#define CORE_TRAIN_SAME_RUN_H
#include <stddef.h>

/* 1 if they differ anywhere, with the first key that does in `what`: "[optimizer] lr is 1e-3 here and 2e-5 there". */
int same_run_difference(const char *there, const char *here, char *what, size_t cap);
#endif
