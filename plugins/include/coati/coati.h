/* coati.h: everything a plugin may see. */
#ifndef COATI_COATI_H
#define COATI_COATI_H
#include "plugin.h"
#include "graph.h"
#include "model.h"
#include "step.h"
#include "backend.h"
#include "optimizer.h"
#include "comm.h"
#include "strategy.h"
#include "dataset.h"
#include "tokenizer.h"
#include "loss.h"
#endif
