/* launch.h: --nproc: this program again, N times under mpirun, and one exit code and message for all of them. */
#ifndef COATI_RUN_LAUNCH_H
#define COATI_RUN_LAUNCH_H

/* args: of the ranks, without the program's name, NULL-terminated. Returns the exit code; SIGINT and SIGTERM are the ranks' from
 * here on. keep_noise: show what mpirun itself says even where the ranks have said why. */
int launch(int nproc, char *const *args, int keep_noise);
#endif
