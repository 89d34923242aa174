#include "core/train/speeds.h"
#include "core/base/error.h"
#include <stddef.h>

#define ROW(m, help) {#m, CO_OPT_FLOAT, offsetof(speeds, m), 0, "0", 0, 1e18, NULL, help}
static const co_opt rows[] = {
    ROW(product_fp32, "operations a second of large products in fp32, two a multiply-add"),
    ROW(product_16, "likewise in bf16 and fp16"),
    ROW(small_product, "share of that speed which products of fewer operations than small_below reach"),
    ROW(small_below, "operations of the smallest large product"),
    ROW(attention, "operations a second of attention, pairs that see each other alone counted"),
    ROW(attention_backward, "likewise of its backward, four products a pair counted"),
    ROW(memory, "bytes a second that kernels read and write"),
    ROW(op, "seconds a kernel takes at least"),
    ROW(adamw, "elements a second that AdamW updates where a rank computes"),
    ROW(host_adamw, "elements a second that all ranks of a machine update in host memory"),
    ROW(node_link, "bytes a second a rank sends within a machine, while all do"),
    ROW(network, "bytes a second a machine sends to others"),
    ROW(host_link, "bytes a second between a device and host memory, each way; a CPU has no such link"),
    ROW(node_latency, "seconds of a message within a machine"),
    ROW(network_latency, "seconds of a message between machines"),
    ROW(shared, "1: the ranks of a machine share product, memory and adamw"), CO_OPT_END};

/* Measured where it is not said otherwise; tests/bench/README.md and backends/cuda/kernels/NOTES-attention.md have the calls. */
static const speeds machines[] = {
    [MACHINE_CPU] = { /* 2 cores of an AMD EPYC (Zen 5) */
        .product_fp32 = 212e9, .product_16 = 212e9, /* sgemm, 2048 cubed; 16 bits compute in fp32 */
        .small_product = 1, .small_below = 0,
        .attention = 106e9, .attention_backward = 106e9, /* taken at half a product's speed, not measured apart */
        .memory = 34e9,                                  /* plain copy */
        .adamw = 1.66e9, .host_adamw = 1.66e9,           /* coati-bench --update */
        .node_link = 5e9, .node_latency = 5e-6,          /* MPI through shared memory: an assumption */
        .network = 1.25e9, .network_latency = 30e-6,     /* 10 Gb/s Ethernet: an assumption */
        .host_link = 34e9, .shared = 1},
    [MACHINE_H100] = { /* H100 80 GB SXM, 8 a machine */
        .product_16 = 780e12, .small_product = 0.5, .small_below = 1e11, /* products of 4096 rows reach half */
        .product_fp32 = 45e12,                                       /* two thirds of the data sheet's 67e12, not measured */
        .attention = 516e12, .attention_backward = 322e12,           /* heads of 128; 403e12 with the five products counted there */
        .memory = 3.0e12, .op = 4e-6,                                /* op: an assumption */
        .adamw = 1e11,                                               /* 2.8 TB/s at 28 bytes an element */
        .host_adamw = 3.3e9,                                         /* 6.7e9 in about 2 s of a LLaMA-7B step under gemini, 16 cores */
        .node_link = 361e9, .node_latency = 3e-6,                    /* all_reduce of 1 GiB over 8 cards; 329e9 over 2. Latency: an assumption */
        .network = 400e9, .network_latency = 10e-6,                  /* a 400 Gb/s card each GPU, data sheet */
        .host_link = 50e9}};                                         /* PCIe 5 x16, data sheet less a fifth */

int speeds_open(int32_t machine, const char *path, speeds *out)
{
    *out = machines[machine];
    if (!path[0]) return CO_OK;
    speeds given = {0};
    config *c = config_new();
    int r = c ? config_read_file(c, path) : CO_E_NOMEM;
    if (r == CO_OK) r = config_bind(c, "speeds", rows, sizeof rows[0], "core", &given);
    if (r == CO_OK) r = config_finish(c);
    for (size_t i = 0; r == CO_OK && i + 1 < sizeof rows / sizeof *rows; i++) {
        double *const to = (double *)(void *)((char *)out + rows[i].offset);
        if (!config_get(c, "speeds", rows[i].key)) continue;
        *to = *(const double *)(const void *)((const char *)&given + rows[i].offset);
    }
    config_free(c);
    if (r == CO_OK && !(out->product_fp32 > 0 && out->product_16 > 0 && out->small_product > 0 && out->attention > 0 && out->attention_backward > 0 && out->memory > 0 &&
        out->adamw > 0 && out->host_adamw > 0 && out->node_link > 0 && out->network > 0 && out->host_link > 0))
        r = FAIL(CO_E_CONFIG, "%s: [speeds] a speed of 0: leave the key out for the machine's own", path);
    return r;
}
