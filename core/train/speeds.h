/* speeds.h: how quickly a machine computes and moves bytes: what predictions of step times go by. A file of them is an INI file with
 * one section [speeds]; what it leaves out is the machine's own. Keys, with units: the table in speeds.c. */
#ifndef CORE_TRAIN_SPEEDS_H
#define CORE_TRAIN_SPEEDS_H
#include "core/train/options.h"

typedef struct speeds {
    double product_fp32, product_16, small_product, small_below, attention, attention_backward, memory, op; /* of a GPU, or of a machine's CPUs */
    double adamw, host_adamw;                     /* elements a second */
    double node_link, network, host_link;         /* bytes a second */
    double node_latency, network_latency;         /* seconds a message */
    double shared;                                /* 1: the ranks of a machine share its processors */
} speeds;

/* machine: MACHINE_CPU or MACHINE_H100; path "": the machine's own. CO_E_CONFIG names file and line. */
int speeds_open(int32_t machine, const char *path, speeds *out);
#endif
