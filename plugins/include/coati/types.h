/* types.h: tensors, element types, streams. */
#ifndef COATI_TYPES_H
#define COATI_TYPES_H
#include "abi.h"

#define CO_MAX_DIMS 4

typedef enum co_dtype {
    CO_F32 = 0,
    CO_BF16,
    CO_F16,
    CO_I32,
    CO_U8,
    CO_I64,
    CO_F64 /* reference backend and gradient checks only */
} co_dtype;

/* Bytes of one element. */
static inline size_t co_dtype_bytes(uint32_t t)
{
    return t == CO_BF16 || t == CO_F16 ? 2 : t == CO_F64 || t == CO_I64 ? 8 : t == CO_U8 ? 1 : 4;
}

typedef enum co_mem { CO_MEM_HOST = 0, CO_MEM_PINNED, CO_MEM_DEVICE } co_mem;

/* A view, never an owner. Row major; the last dimension is contiguous. A tensor of two dimensions
 * [rows, cols] may have rows further apart than `cols`: that distance is row_stride, in elements. One
 * dimension [n] has row_stride 1; three and more are dense. */
typedef struct co_tensor {
    void *data;
    int64_t ne[CO_MAX_DIMS]; /* ne[0] is the slowest dimension */
    int64_t row_stride;      /* elements between rows, >= ne[1] */
    uint8_t ndim, dtype, mem, pad[5];
} co_tensor;

typedef struct co_stream_s *co_stream; /* opaque, owned by the backend that made it; NULL: the default */
typedef struct co_event_s *co_event;
#endif
