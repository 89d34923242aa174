/* tensorboard.h: scalars as TensorBoard event files: TFRecord frames around protobuf messages, both written here.
 * Formats: tensorflow/core/lib/io/record_writer and tensorflow/core/util/event.proto. */
#ifndef CORE_TRAIN_TENSORBOARD_H
#define CORE_TRAIN_TENSORBOARD_H
#include <stddef.h>
#include <stdint.h>

typedef struct tensorboard tensorboard;
/* A new file in output/tensorboard. done > 0: the run goes on from this step, and readers drop what earlier files say
 * of later ones; 0: files of an earlier start are removed. Allocates here and nowhere else. */
int tensorboard_open(const char *output, int64_t done, tensorboard **out);
void tensorboard_close(tensorboard *t);
/* The scalars of one step: begin, add each (at most 32, a tag of at most 63 bytes; one that is not finite too), end
 * writes. A NULL handle does nothing. */
void tensorboard_begin(tensorboard *t, int64_t step);
void tensorboard_add(tensorboard *t, const char *tag, double value);
int tensorboard_end(tensorboard *t);
uint32_t tensorboard_crc(const void *data, size_t n); /* masked CRC-32C, as the frames hold it */
#endif
