#include "core/train/sft.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/base/trace.h"
#include "core/graph/device_trace.h"
#include "core/train/checkpoint.h"
#include "core/train/comm_traced.h"
#include "core/train/evaluate.h"
#include "core/train/lr.h"
#include "core/train/metrics.h"
#include "core/train/predict.h"
#include "core/train/progress.h"
#include "core/train/ranks.h"
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

typedef struct queued_step { /* a step whose numbers are not there yet */
    metrics_step m; /* step 0: none */
    int computed;   /* it had labels */
    double started;
} queued_step;

typedef struct sft {
    run *r;
    sft_flags *flags;
    const char *output;
    metrics *log;
    const step_batch *first;         /* read ahead by read_first */
    int64_t done, last_saved, total; /* steps */
    int64_t first_step;              /* done when the loop began */
    double began, reported;          /* when; reported: the last step's numbers were there */
    double second, waited;           /* when the second step began; waited for data since */
    double steps_s;                  /* of steps after the first */
    double sent;                     /* bytes, by these */
    int64_t n_sent;
    int64_t n_timed;
    int overflows;                   /* in a row with the scale at its least */
} sft;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what is there already ------------------------------------------------------------------------------------- */
static int remove_earlier(const char *output)
{
    static const char *const ours[] = {"checkpoints", "model", "adapter", "metrics.jsonl", "config.ini", "tensorboard", "report.html", "prediction.json", "trace.json"};
    int r = CO_OK;
    for (size_t i = 0; i < sizeof ours / sizeof *ours && r == CO_OK; i++) {
        char *path = fs_join(output, ours[i]);
        r = path ? fs_remove_tree(path) : CO_E_NOMEM;
        mem_free(path);
    }
    return r;
}

/* Sets *yes if it is there, and leaves it if not. */
static int has(const char *output, const char *name, int *yes)
{
    char *path = fs_join(output, name);
    if (!path) return CO_E_NOMEM;
    if (fs_is_file(path) || fs_is_dir(path)) *yes = 1;
    mem_free(path);
    return CO_OK;
}

/* Decides where to start; writes nothing over an earlier run's files. */
static int find_start(sft *s)
{
    const int never = s->flags->resume < 0 || (s->flags->resume == 0 && s->r->o.checkpoint.resume == 2);
    const int must = s->flags->resume > 0 || (s->flags->resume == 0 && s->r->o.checkpoint.resume == 1);
    int64_t newest = 0;
    if (s->flags->overwrite) return CO_OK;
    int r = checkpoint_newest(s->output, s->r->rank == 0, &newest);
    if (r) return r;
    if (newest && never)
        return FAIL(CO_E_CONFIG, "'%s' holds a run with a checkpoint of step %" PRId64 ": --resume goes on with it, --overwrite removes it",
                    s->output, newest);
    if (newest) {
        r = checkpoint_check_config(s->output, newest, s->r->config, s->r->world);
        s->done = s->last_saved = newest;
        return r;
    }
    if (must) return FAIL(CO_E_CONFIG, "'%s' holds no checkpoint to resume from", s->output);
    int result = 0, lines = 0, ini = 0;
    r = has(s->output, "model", &result);
    if (r == CO_OK) r = has(s->output, "adapter", &result);
    if (r == CO_OK) r = has(s->output, "metrics.jsonl", &lines);
    if (r == CO_OK) r = has(s->output, "config.ini", &ini);
    if (r) return r;
    if (result || (lines && !ini))
        return FAIL(CO_E_CONFIG, "'%s' holds an earlier run's files and no checkpoint: choose another [run] output, or --overwrite", s->output);
    /* A run that ended before its first checkpoint begins again, if it is the same run. */
    return lines ? checkpoint_check_config(s->output, 0, s->r->config, s->r->world) : CO_OK;
}

/* Rank 0 looks first: it removes what an interrupted checkpoint left. */
static int find_start_together(sft *s)
{
    int r = s->r->rank == 0 ? find_start(s) : CO_OK;
    r = ranks_agree(s->r, r);
    if (r == CO_OK && s->r->rank > 0) r = find_start(s);
    if (s->r->world > 1) r = ranks_agree(s->r, r);
    return r == CO_OK ? ranks_same_number(s->r, "the newest checkpoint's step", s->done, "is [run] output on a file system all ranks see?") : r;
}

/* The first step's data, before anything is written: a broken record must not leave a started run behind. */
static int read_first(sft *s)
{
    if (s->done >= s->total) return CO_OK;
    int r = loader_seek(s->r->train.loader, s->done);
    return r == CO_OK ? loader_next(s->r->train.loader, &s->first) : r;
}

/* ---- evaluation ------------------------------------------------------------------------------------------------- */
static int evaluate(sft *s, double epoch)
{
    evaluation v;
    const uint64_t begin = trace_begin();
    const int r = run_evaluate(s->r, &s->r->eval, s->r->o.eval.batches, &v);
    trace_end(begin, "step", "evaluation at step %" PRId64, s->done);
    if (r) return r;
    if (s->r->rank > 0) return CO_OK;
    progress_note("eval at step %" PRId64 ": loss %.4f, perplexity %.3f, %" PRId64 " samples", s->done, v.loss, exp(v.loss), v.samples);
    return metrics_eval(s->log, s->done, epoch, v.loss, &v.named, v.tokens, v.samples);
}

/* ---- one step --------------------------------------------------------------------------------------------------- */
/* Queues a step; on the CPU it is done when this returns. */
static int train_step(sft *s, const step_batch *b, queued_step *q)
{
    const options *o = &s->r->o;
    const int64_t schedule = o->schedule.steps > 0 ? o->schedule.steps : s->total;
    const double lr = o->optimizer.lr * lr_factor((lr_shape)o->schedule.name, s->done, schedule, o->schedule.warmup_ratio, o->schedule.min_ratio);
    int r = CO_OK;
    for (int32_t i = 0; i < b->n_micro && r == CO_OK && b->n_labels; i++) {
        const void *columns[2];
        const engine_batch view = run_view(&b->micro[i], columns);
        r = engine_micro_step(s->r->engine, &view, 1.0 / (double)b->n_labels, 1, s->done + 1, i + 1 == b->n_micro, NULL);
    }
    if (r == CO_OK && b->n_labels) r = engine_step(s->r->engine, s->done + 1, lr, o->optimizer.max_grad_norm, NULL);
    if (r) return r;
    s->done++;
    q->m = (metrics_step){.step = s->done, .epoch = b->epoch, .loss = NAN, .lr = lr, .tokens = b->n_tokens, .samples = b->n_samples,
                          .named = run_metrics(s->r)};
    q->computed = b->n_labels != 0;
    return CO_OK;
}

#define OVERFLOWS_AT_THE_END 20 /* in a row, with a scale that cannot fall: it is not the scale */

/* fp16: a step whose gradients overflowed was skipped; says where and what the scale becomes. */
static int note_overflow(sft *s, int64_t step, const co_step_stats *st)
{
    if (!st->skipped) return s->overflows = 0, CO_OK;
    log_line(CO_LOG_WARN, "fp16", "step %" PRId64 ": the gradient of '%s' overflowed; nothing was updated, the loss scale goes from %g to %g",
             step, st->overflowed ? st->overflowed : "?", (double)st->loss_scale, (double)st->next_scale);
    s->overflows = st->next_scale < st->loss_scale || st->loss_scale > (float)s->r->o.precision.min_scale ? 0 : s->overflows + 1;
    if (s->overflows < OVERFLOWS_AT_THE_END) return CO_OK;
    return FAIL(CO_E_STATE, "step %" PRId64 ": %d steps in a row overflowed in fp16 though the loss scale is %g, the least [precision] min_scale allows; "
                "the last in '%s'. Use dtype = bf16, or a lower lr", step, OVERFLOWS_AT_THE_END, (double)st->loss_scale, st->overflowed ? st->overflowed : "?");
}

/* Loss and metrics are sums over ranks; with them goes who was told to stop, so that all stop at the same step. */
#define NOTE_TERM 65536.0
static double own_note(const sft *s) { return *s->flags->stop == 0 ? 0 : *s->flags->stop == SIGINT ? 1 : NOTE_TERM; }

static int sum_results(sft *s, engine_result *res)
{
    double v[ENGINE_MAX_METRICS + 2] = {res->loss, own_note(s)};
    for (uint32_t i = 0; i < res->n_metrics; i++) v[2 + i] = res->metric[i];
    const int r = ranks_sum(s->r, v, 2 + (int64_t)res->n_metrics);
    res->loss = v[0];
    for (uint32_t i = 0; i < res->n_metrics; i++) res->metric[i] = v[2 + i];
    if (s->r->world > 1 && v[1] > 0) s->flags->stopped = v[1] >= NOTE_TERM ? SIGTERM : SIGINT;
    return r;
}

static int stopping(const sft *s)
{
    if (s->r->world == 1) s->flags->stopped = *s->flags->stop;
    return s->flags->stopped;
}

/* Writes down what came of a step. */
static int write_down(sft *s, queued_step *q)
{
    const options *o = &s->r->o;
    metrics_step *m = &q->m;
    struct rusage usage;
    if (m->step == 0) return CO_OK;
    if (q->computed) {
        engine_result res;
        co_step_stats stats;
        int r = engine_collect(s->r->engine, m->step, &res, &stats);
        if (r == CO_OK) r = sum_results(s, &res);
        if (r) return r;
        m->loss = res.loss;
        memcpy(m->named.value, res.metric, sizeof res.metric);
        m->grad_norm = stats.grad_norm;
        if (o->precision.dtype == DTYPE_FP16) m->loss_scale = stats.loss_scale, m->skipped = stats.skipped;
        const int e = note_overflow(s, m->step, &stats);
        if (e) return e;
    }
    const double t = now();
    m->step_s = t - (q->started > s->reported ? q->started : s->reported);
    m->tokens_per_s = (double)m->tokens / m->step_s;
    if (m->step > s->first_step + 1) s->steps_s += m->step_s, s->n_timed++;
    m->mem_device_bytes = engine_allocated(s->r->engine);
    m->mem_host_bytes = getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
    s->reported = t;
    const int64_t step = m->step;
    m->step = 0;
    if (s->r->rank > 0) return CO_OK;
    m->step = step;
    const int logged = m->step % o->log.every == 0 || m->step == s->total;
    const int r = logged ? metrics_train(s->log, m) : CO_OK;
    progress_step(m->step, s->total, m, (now() - s->began) / (double)(m->step - s->first_step), logged);
    m->step = 0;
    return r;
}

static int agree(void *ctx, int status) { return ranks_agree(ctx, status); }

static int save(sft *s)
{
    const checkpoint_team team = {s->r->rank, s->r->world, s->r, agree};
    if (s->last_saved == s->done || s->r->o.checkpoint.every_steps < 0) return CO_OK;
    const uint64_t begin = trace_begin();
    int r = checkpoint_save(s->output, s->done, s->r->o.checkpoint.keep, s->r->engine, s->r->table, s->r->optim->n_state, s->r->config,
                            s->r->world > 1 ? &team : NULL);
    trace_end(begin, "step", "checkpoint of step %" PRId64, s->done);
    if (r == CO_OK) s->last_saved = s->done;
    return r;
}

/* A step's numbers are read when the next one is queued, so that an async backend is never waited for: `late` steps. */
static int loop(sft *s)
{
    const options *o = &s->r->o;
    const int64_t stop_at = o->run.stop_after > 0 && o->run.stop_after < s->total ? o->run.stop_after : s->total;
    const int late = engine_is_async(s->r->engine);
    queued_step q[2] = {{{0}, 0, 0}, {{0}, 0, 0}};
    int r = CO_OK;
    s->first_step = s->done;
    s->began = now();
    while (r == CO_OK && s->done < stop_at && !stopping(s)) {
        if (s->flags->step) *s->flags->step = s->done + 1;
        const step_batch *b = s->first;
        const double t = now();
        const uint64_t waits = trace_begin();
        if (!b) r = loader_next(s->r->train.loader, &b);
        const double waited = s->first ? 0 : now() - t;
        trace_end(waits, "data", "batch of step %" PRId64, s->done + 1);
        s->first = NULL;
        if (r) break;
        if (s->done == s->first_step + 1) s->second = t;
        if (s->done > s->first_step) s->waited += waited;
        const double before = floor(b->epoch - 1e-9), epoch = b->epoch;
        queued_step *this = &q[s->done & 1], *last = &q[(s->done + 1) & 1];
        this->started = t;
        const uint64_t steps = trace_begin();
        const double sent = comm_sent(s->r->comm_self);
        r = train_step(s, b, this);
        if (s->done > s->first_step + 1) s->sent += comm_sent(s->r->comm_self) - sent, s->n_sent++;
        this->m.data_wait_s = waited;
        trace_end(steps, "step", "step %" PRId64, s->done);
        if (r == CO_OK) r = write_down(s, late ? last : this);
        const int epoch_end = epoch >= before + 1 - 1e-9 && fabs(epoch - round(epoch)) < 1e-9;
        const int evaluates = s->r->eval.loader && ((o->eval.every > 0 ? s->done % o->eval.every == 0 : epoch_end) || s->done == s->total);
        const int saves = o->checkpoint.every_steps > 0 && s->done % o->checkpoint.every_steps == 0;
        if (r == CO_OK && (evaluates || saves)) r = write_down(s, this);
        if (r == CO_OK && evaluates) r = evaluate(s, epoch);
        if (r == CO_OK && saves) r = save(s);
    }
    for (int64_t i = s->done; i < s->done + 2 && (r == CO_OK || r == CO_END); i++) { /* the older one first */
        const int e = write_down(s, &q[i & 1]);
        if (e) r = e;
    }
    return r == CO_END ? CO_OK : r;
}

static int write_config(sft *s)
{
    char *text = config_print(s->r->config), *path = fs_join(s->output, "config.ini");
    int r = text && path ? fs_write_atomic(path, text, strlen(text)) : CO_E_NOMEM;
    mem_free(path);
    mem_free(text);
    return r;
}

/* What the plan said of the mean step since this start, beside what it was: prediction.json, and a line at the end. */
static int compare_prediction(const sft *s)
{
    const run *r = s->r;
    loader_totals t;
    prediction p;
    loader_stats(r->train.loader, &t);
    if (!s->n_timed || !s->n_sent || !t.steps || !t.samples) return CO_OK;
    const double micro = (double)r->o.batch.accumulation, seqs = (double)t.samples / (double)t.steps / r->world / micro;
    const int e = run_predict(r, seqs * (double)t.tokens / (double)t.samples, seqs, (int32_t)micro, &p);
    if (e == CO_E_UNSUPPORTED) return CO_OK;
    if (e) return e;
    const measured m = {s->steps_s / (double)s->n_timed, s->sent / (double)s->n_sent, (double)engine_allocated(r->engine)};
    progress_note("predicted and measured: step %.4g and %.4g s, %.0f and %.0f bytes sent a rank (speeds of %s; prediction.json)", p.step_s, m.step_s,
                  p.node_bytes + p.network_bytes, m.sent_bytes, p.machine);
    return run_write_prediction(r, &p, &m);
}

static void sum_up(const sft *s)
{
    const double after_first = s->reported - s->second;
    loader_totals t;
    loader_stats(s->r->train.loader, &t);
    if (t.dropped || t.bad || t.cut)
        progress_note("samples: %" PRId64 " used; each counted once: %" PRId64 " records cut to max_len, %" PRId64 " dropped (no label left), %" PRId64 " broken records passed over",
                      t.samples, t.cut, t.dropped, t.bad);
    if (s->second > 0) progress_note("waited for data: %.3f s, %.2f %% of the time after the first step", s->waited, 100 * s->waited / after_first);
}

static void note_lines(const char *text)
{
    for (const char *p = text; *p;) {
        const size_t n = strcspn(p, "\n");
        progress_note("%.*s", (int)n, p);
        p += n + (p[n] == '\n');
    }
}

/* Its sources, what the data was taken for, and a sample of it. */
static void describe(const run *r)
{
    char *text = NULL, *sources = run_sources_text(r);
    if (sources) note_lines(sources);
    mem_free(sources);
    if (loader_describe(r->train.loader, &text)) return; /* no record of the first has an answer: its step will say so */
    note_lines(text);
    mem_free(text);
}

/* Everything that can go wrong on one rank alone, before the first collective of the steps. */
static int prepare(sft *s)
{
    run *const r = s->r;
    const metrics_named named = run_metrics(r);
    int e = run_check_memory(r);
    if (e == CO_OK) e = metrics_check_names(&named);
    e = ranks_agree(r, e); /* nobody takes memory while another looks what is free */
    if (e == CO_OK) e = run_allocate(r);
    if (e == CO_OK && s->done) e = checkpoint_load(s->output, s->done, r->engine, r->table, r->optim->n_state);
    if (e == CO_OK) e = read_first(s);
    if (!r->together) e = ranks_agree(r, e);
    /* The same counts from files that differ? Then at least the first step's samples do. */
    if (e == CO_OK && s->first) e = ranks_same_number(r, "the first step's count of label tokens", s->first->n_labels, "other data");
    if (e == CO_OK && s->done && r->rank == 0) progress_note("resumed from step %" PRId64 " of %" PRId64, s->done, s->total);
    return e;
}

/* [log] trace: a file each rank, of this start alone. */
static int begin_trace(sft *s)
{
    if (!s->r->o.log.trace) return CO_OK;
    char *path = s->r->world > 1 ? mem_printf("%s/trace-%d.json", s->output, s->r->rank) : mem_printf("%s/trace.json", s->output);
    const int r = path ? trace_open(path, s->r->rank) : CO_E_NOMEM;
    if (r == CO_OK) device_trace_open(s->r->backend, s->r->backend_self);
    mem_free(path);
    return r;
}

static int begin_output(sft *s)
{
    int e = s->flags->overwrite ? remove_earlier(s->output) : CO_OK;
    if (e == CO_OK) e = fs_mkdirs(s->output);
    if (e == CO_OK) e = write_config(s);
    return e == CO_OK ? metrics_open(s->output, s->done, s->r->o.log.tensorboard, &s->log) : e;
}

int sft_run(run *r, sft_flags *f)
{
    sft s = {.r = r, .flags = f, .output = r->o.run.output, .total = r->total_steps};
    int e = find_start_together(&s);
    if (e == CO_OK) e = prepare(&s);
    if (e == CO_OK) e = ranks_agree(r, r->rank == 0 ? begin_output(&s) : CO_OK);
    if (e == CO_OK) e = ranks_agree(r, begin_trace(&s));
    if (e == CO_OK) {
        progress_open(r->rank == 0 ? r->o.log.progress : PROGRESS_OFF);
        if (r->rank == 0) describe(r);
        e = loop(&s);
        if (e == CO_OK) e = save(&s);
        progress_close();
    }
    if (e == CO_OK && r->rank == 0) sum_up(&s);
    if (e == CO_OK) e = ranks_agree(r, r->rank == 0 ? compare_prediction(&s) : CO_OK);
    if (e == CO_OK && s.done == s.total && r->o.run.save_model) e = ranks_agree(r, run_write_result(r));
    if (r->world == 1) f->stopped = *f->stop;
    if (e == CO_OK) e = ranks_agree(r, run_write_report(r, !f->stopped)); /* who interrupts a run does not wait for answers */
    metrics_close(s.log);
    device_trace_close();
    trace_close();
    return e;
}
