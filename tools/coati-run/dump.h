/* dump.h: --dump-batches: what the model would be fed, without running it. */
#ifndef COATI_RUN_DUMP_H
#define COATI_RUN_DUMP_H
#include "core/train/run.h"

/* Writes DIR/train.jsonl, one optimizer step a line, and with [dataset.eval] DIR/eval.jsonl, one evaluation batch a
 * line: {"step": 1, "micro": [{"ids": [..], "labels": [..], "seq_start": [0, ..]}, ..]}. Labels are shifted already:
 * position t predicts labels[t]; -100 counts for nothing. */
int dump_batches(run *r, const char *dir);
#endif
