/* activation.h: what config.json's names of activations compute. */
#ifndef MODELS_ACTIVATION_H
#define MODELS_ACTIVATION_H
#include <coati/coati.h>

/* For co_config_name(); transformers' gelu_new, gelu_fast and gelu_pytorch_tanh are one function. */
#define ACTIVATION_NAMES "gelu_new|gelu_fast|gelu_pytorch_tanh|gelu|gelu_python|relu|silu|swish"

static inline co_val activation(const co_graph_ops *op, co_graph *g, co_val x, int name)
{
    if (name == 5) return op->relu(g, x);
    return name > 5 ? op->silu(g, x) : op->gelu(g, x, name < 3);
}
#endif
