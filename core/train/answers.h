/* answers.h: what the model says to a few prompts of the data, for report.html. Made with the run's own engine: the weights
 * are used where they are, whatever strategy holds them. */
#ifndef CORE_TRAIN_ANSWERS_H
#define CORE_TRAIN_ANSWERS_H
#include "core/train/report.h"
#include "core/train/run.h"

/* Greedy answers to the first prompts of the held-out data, of the training data if there is none: [log] samples of them,
 * less where prompts are too long or records broken. Texts lie in the arena. Collective where a strategy is. */
int run_answers(run *r, co_arena *a, report_answer **out, size_t *n);
#endif
