/* net.h: a model directory, with or without an adapter, opened to be asked for logits. */
#ifndef TOOLS_COATI_CONVERT_NET_H
#define TOOLS_COATI_CONVERT_NET_H
#include "convert.h"
#include "core/config/config.h"
#include "core/graph/engine.h"
#include "core/host/host.h"
#include "core/lora/adapter.h"

enum { PROBES = 4, PROBE_TOKENS = 16 }; /* sequences, and tokens of the longest */

typedef struct net {
    host *host;
    config *config;
    hf_config *hf;
    st_set *weights;
    const co_backend_vt *backend;
    const co_comm_vt *comm;
    const co_strategy_vt *strategy;
    const co_model_vt *model;
    void *backend_self, *comm_self, *model_self, *strategy_opts;
    adapter *adapter;
    lora *lora;
    param_table *base, *table; /* of the model itself; of what the engine runs: the same without an adapter */
    engine *engine;
    int64_t length;            /* tokens of a probe */
    int64_t probe_vocab;       /* ids of probes are below; 0: the model's own vocabulary */
} net;

/* Host, plugin and parameter table only: no weights, no engine. c: options, taken over also after an error; NULL for none. */
int net_open_model(net *n, const convert_args *a, const char *dir, config *c);
/* All of it, ready for net_logits. adapter: NULL for none. */
int net_open(net *n, const convert_args *a, const char *dir, const char *adapter);
void net_close(net *n);
/* Logits [PROBES * length, n_vocab] of fixed sequences; free with mem_free. */
int net_logits(net *n, float **out, int32_t **ids);
int net_read(void *ctx, uint32_t param, int64_t first, int64_t count, float *out); /* params_read_fn; ctx: the net */
#endif
