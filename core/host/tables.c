/* tables.c: the vtables of the eight kinds: how long ours are, and which members must be there. */
#include "core/host/host_impl.h"

#define MEMBER(T, m) {#m, offsetof(T, m)}
static const table_member backend_members[] = {
    MEMBER(co_backend_vt, open), MEMBER(co_backend_vt, close), MEMBER(co_backend_vt, memory), MEMBER(co_backend_vt, alloc),
    MEMBER(co_backend_vt, free), MEMBER(co_backend_vt, copy), MEMBER(co_backend_vt, fill0), MEMBER(co_backend_vt, stream_new),
    MEMBER(co_backend_vt, stream_free), MEMBER(co_backend_vt, stream_sync), MEMBER(co_backend_vt, event_new),
    MEMBER(co_backend_vt, event_free), MEMBER(co_backend_vt, event_record), MEMBER(co_backend_vt, event_wait),
    MEMBER(co_backend_vt, supports), MEMBER(co_backend_vt, workspace), MEMBER(co_backend_vt, prepare),
    MEMBER(co_backend_vt, discard), MEMBER(co_backend_vt, run), MEMBER(co_backend_vt, flat_cast),
    MEMBER(co_backend_vt, flat_axpy), MEMBER(co_backend_vt, flat_sqnorm), MEMBER(co_backend_vt, flat_adamw), {NULL, 0}};
static const table_member comm_members[] = {
    MEMBER(co_comm_vt, open), MEMBER(co_comm_vt, close), MEMBER(co_comm_vt, info), MEMBER(co_comm_vt, split),
    MEMBER(co_comm_vt, all_reduce), MEMBER(co_comm_vt, reduce_scatter), MEMBER(co_comm_vt, all_gather),
    MEMBER(co_comm_vt, broadcast), MEMBER(co_comm_vt, barrier), MEMBER(co_comm_vt, abort), {NULL, 0}};
static const table_member strategy_members[] = {
    MEMBER(co_strategy_vt, open), MEMBER(co_strategy_vt, close), MEMBER(co_strategy_vt, begin), MEMBER(co_strategy_vt, end),
    MEMBER(co_strategy_vt, acquire), MEMBER(co_strategy_vt, release), MEMBER(co_strategy_vt, grads_ready),
    MEMBER(co_strategy_vt, step), MEMBER(co_strategy_vt, stats), MEMBER(co_strategy_vt, owned), MEMBER(co_strategy_vt, read),
    MEMBER(co_strategy_vt, write), MEMBER(co_strategy_vt, gather), MEMBER(co_strategy_vt, bytes), {NULL, 0}};
static const table_member optimizer_members[] = {
    MEMBER(co_optimizer_vt, open), MEMBER(co_optimizer_vt, close), MEMBER(co_optimizer_vt, update), {NULL, 0}};
static const table_member model_members[] = {
    MEMBER(co_model_vt, open), MEMBER(co_model_vt, close), MEMBER(co_model_vt, info), MEMBER(co_model_vt, params),
    MEMBER(co_model_vt, build), {NULL, 0}};
static const table_member tokenizer_members[] = {
    MEMBER(co_tokenizer_vt, open), MEMBER(co_tokenizer_vt, close), MEMBER(co_tokenizer_vt, n_vocab),
    MEMBER(co_tokenizer_vt, encode), MEMBER(co_tokenizer_vt, decode), MEMBER(co_tokenizer_vt, special), {NULL, 0}};
static const table_member dataset_members[] = {
    MEMBER(co_dataset_vt, open), MEMBER(co_dataset_vt, close), MEMBER(co_dataset_vt, count), MEMBER(co_dataset_vt, read),
    {NULL, 0}};
static const table_member loss_members[] = {
    MEMBER(co_loss_vt, open), MEMBER(co_loss_vt, close), MEMBER(co_loss_vt, build), {NULL, 0}};

static const table_kind kinds[] = {
    [CO_KIND_BACKEND] = {"backend", sizeof(co_backend_vt), backend_members},
    [CO_KIND_COMM] = {"comm", sizeof(co_comm_vt), comm_members},
    [CO_KIND_STRATEGY] = {"strategy", sizeof(co_strategy_vt), strategy_members},
    [CO_KIND_OPTIMIZER] = {"optimizer", sizeof(co_optimizer_vt), optimizer_members},
    [CO_KIND_MODEL] = {"model", sizeof(co_model_vt), model_members},
    [CO_KIND_TOKENIZER] = {"tokenizer", sizeof(co_tokenizer_vt), tokenizer_members},
    [CO_KIND_DATASET] = {"dataset", sizeof(co_dataset_vt), dataset_members},
    [CO_KIND_LOSS] = {"loss", sizeof(co_loss_vt), loss_members},
};

const table_kind *table_of(uint32_t kind) { return kind >= 1 && kind < sizeof kinds / sizeof *kinds ? &kinds[kind] : NULL; }
