/* attention.h: scaled dot-product attention on a CUDA device, as CO_OP_ATTENTION, _BWD and _CACHED define it (backends/ref/ops/
 * attention.c is the specification). The rest of the backend sees this header alone; kernels/attention.cu says which kernel serves what.
 *
 * Every call queues work on `stream` and returns: no allocation, no synchronisation. All kernels give the same bits for the same
 * input every time: sums run in a fixed order and there are no floating-point atomics.
 *
 * Errors come back as cudaError_t of the launches; what cannot be served at all is said beforehand by cuda_attn_refuses. */
#ifndef COATI_CUDA_ATTENTION_H
#define COATI_CUDA_ATTENTION_H
#include <coati/backend.h>
#include <cuda_runtime_api.h>
#ifdef __cplusplus
extern "C" {
#endif

/* What the launches need to know of a device. Filled by cuda_attn_open; plain data, may be copied. */
typedef struct cuda_attn_dev {
    int device;
    int cc;            /* compute capability: 80, 86, 89, 90, …            */
    int sms;           /* multiprocessors                                   */
    int smem;          /* bytes of shared memory a block may ask for        */
    int l2;            /* bytes of L2                                       */
    void *tensor_map;  /* the driver's cuTensorMapEncodeTiled, NULL without */
} cuda_attn_dev;

/* One attention op of a plan: what is known before any batch is. Strides are in elements, between rows; every operand's rows and first
 * element must lie on 16 bytes for the tensor-core kernels (co_plan places views so), else the plain ones serve. */
typedef struct cuda_attn {
    uint32_t dtype; /* co_dtype of every operand but lse, which is fp32 */
    int32_t n_heads, n_kv_heads, head_dim;
    int32_t tokens, seqs; /* capacities */
    float scale;          /* 0: 1/sqrt(head_dim) */
    int32_t causal, alibi, window;
    int32_t slot_len;      /* cached: positions a slot holds */
    int64_t q, k, v, o, lse;         /* row strides */
    int64_t d_o, dq, dk, dv;         /* backward */
    int64_t kc, vc;                  /* cached: of the caches' rows [slots*slot_len, kv*hd] */
} cuda_attn;

/* The batch at hand; the arrays lie on the device. Counts come from the device where `counts` is set (then grids have the shape of
 * the capacity and a captured call serves every batch), else n_tokens and n_seqs hold and grids are exact. Where `dev` is
 * set, kernels take the arrays from there. */
typedef struct cuda_attn_live {
    const int32_t *counts; /* device: {n_tokens, n_seqs}, as they stand side by side in co_live; or NULL */
    int32_t n_tokens, n_seqs;
    const int32_t *seq_start;            /* [n_seqs+1] */
    const int32_t *cache_slot, *past_len; /* [n_seqs], cached only */
    const co_live *dev;                   /* in device memory, or NULL */
} cuda_attn_live;

cudaError_t cuda_attn_open(cuda_attn_dev *d, int device);

/* NULL, or why no kernel here can serve it: a constant text that names the cure. */
const char *cuda_attn_refuses(const cuda_attn_dev *d, const cuda_attn *a);

/* Bytes of scratch a call needs; its contents do not matter before or after. 256-byte aligned. */
size_t cuda_attn_forward_scratch(const cuda_attn_dev *d, const cuda_attn *a);
size_t cuda_attn_backward_scratch(const cuda_attn_dev *d, const cuda_attn *a);
size_t cuda_attn_cached_scratch(const cuda_attn_dev *d, const cuda_attn *a);

/* An index of the batch's sequences (first and last row of each token's sequence, tiles by falling cost) is the same for
 * every layer: queue cuda_attn_index once a batch and give the result to each call (calls that share one must follow each other, as
 * those of one stream do); with index NULL a call makes
 * its own in its scratch, at one more launch (2 to 3 us). */
size_t cuda_attn_index_bytes(int32_t tokens);
cudaError_t cuda_attn_index(const cuda_attn_dev *d, int32_t tokens, const cuda_attn_live *live, void *index, cudaStream_t stream);

/* q [T, H*hd], k, v [T, Hkv*hd] -> o [T, H*hd], lse [T, H] natural logarithm (NULL: not wanted). Rows past the live count are not
 * written, and what stands in them is never used. */
cudaError_t cuda_attn_forward(const cuda_attn_dev *d, const cuda_attn *a, const void *q, const void *k, const void *v, void *o,
                              float *lse, const cuda_attn_live *live, const void *index, void *scratch, cudaStream_t stream);

/* dq, dk, dv: each may be NULL. dk and dv together cost one pass, dq another. */
cudaError_t cuda_attn_backward(const cuda_attn_dev *d, const cuda_attn *a, const void *q, const void *k, const void *v, const void *o,
                               const float *lse, const void *d_o, void *dq, void *dk, void *dv, const cuda_attn_live *live, const void *index,
                               void *scratch, cudaStream_t stream);

/* Sequence i of the batch appends its rows of k and v to slot live->cache_slot[i], behind live->past_len[i] positions, and its
 * queries attend over all of it. Needs no index. */
cudaError_t cuda_attn_cached(const cuda_attn_dev *d, const cuda_attn *a, const void *q, const void *k, const void *v, void *kc, void *vc,
                             void *o, const cuda_attn_live *live, void *scratch, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
