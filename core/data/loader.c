/* loader.c: readers take the records of the coming steps in order and fill slots; loader_next hands slots out in
 * order. What a step holds is decided by plan.c before anything is read, so it cannot depend on the threads. */
#include "core/data/loader.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/data/blocks.h"
#include "core/data/reader.h"
#include "core/data/show.h"
#include "core/data/slot.h"
#include "core/data/subset.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 256, MAX_AHEAD = 1024, MAX_WARNINGS = 10 };

struct loader {
    loader_config c; /* texts are not kept */
    char *name;
    data_template *templ;
    record_columns columns;
    sample_maker maker;
    int64_t known_by;       /* the record that told what they are; -1: none could be read */
    data_plan plan;
    blocks blocks;          /* of texts */
    sample_length *lengths; /* by tokens */
    int64_t *subset;        /* of a split */
    mix mix;                /* of weighted sources */
    mix_source *parts;      /* [c.n_sources] places of each, and its share */
    uint8_t *noted;         /* by count: a bit a place: already in totals as dropped, bad or cut */
    int64_t total;          /* steps of the run */
    reader planner;         /* by tokens with max_steps: measures records as steps are planned */
    char planner_bad[1024]; /* the first that it passed over since the last step was planned */
    reader *readers;
    int32_t n_readers, n_threads; /* threads running */
    slot *slots;
    int32_t n_slots;
    pthread_mutex_t mu, dataset_mu;
    pthread_cond_t work, ready;
    /* Under mu: */
    int64_t next;           /* step loader_next gives next; the caller may still use the slot of next - 1 */
    int64_t planned;        /* steps [next, planned) have slots; at most n_slots - 1 of them */
    int64_t taking;         /* step whose records are being taken, <= planned */
    int32_t busy;           /* readers at work outside the lock */
    int planning;           /* one of them plans: the plan and the slot of step `planned` are its own */
    int stop, paused;
    /* Of the caller's thread: */
    int64_t unusable_run;   /* records since the last usable one */
    int32_t warned;
    loader_totals totals;
};

static slot *slot_of(loader *l, int64_t step) { return &l->slots[step % l->n_slots]; }

/* Reads one item into its slot. Outside the lock; `text` is for its messages. */
static void read_item(loader *l, reader *r, slot *s, int32_t item)
{
    plan_item *it = &s->plan.items[item];
    char text[1024];
    sample made;
    sample_state state = SAMPLE_OK;
    int rc = reader_make(r, it->index, &made, &state);
    if (!rc && l->lengths && made.n != l->lengths[it->place].n) {
        const char *file;
        int64_t row;
        sample_locate(&l->maker, r->dataset_self, l->c.texts ? 0 : it->index, &file, &row);
        rc = FAIL(CO_E_FORMAT, "%s: row %lld changed while the run was reading the file", file, (long long)row);
    }
    if (rc || state == SAMPLE_BAD) {
        error_take(text, sizeof text);
        pthread_mutex_lock(&l->mu);
        if (rc) slot_note_error(s, item, rc, text);
        else slot_note_bad(s, item, text);
        pthread_mutex_unlock(&l->mu);
    }
    it->state = (uint8_t)(rc ? SAMPLE_BAD : state);
    it->cut = (uint8_t)made.cut;
    it->n = made.n;
    it->n_labels = made.n_labels;
    if (rc || state != SAMPLE_OK || !it->mine) return;
    memcpy(s->ids + it->offset, made.ids, (size_t)made.n * sizeof *s->ids);
    for (int32_t i = 0; i < made.n; i++) s->mask[it->offset + i] = made.learn[i];
}

/* plan_rules.measure: one record, by whichever thread plans. */
static int measure_place(void *ctx, int64_t place)
{
    loader *l = ctx;
    const int rc = reader_measure(&l->planner, l->subset ? l->subset[place] : place, &l->lengths[place]);
    if (!rc && l->lengths[place].state == SAMPLE_BAD && !l->planner_bad[0]) error_take(l->planner_bad, sizeof l->planner_bad);
    return rc;
}

/* Locked; unlocks while it reads. Plans the next step if a slot is free for it. */
static int plan_more(loader *l)
{
    const int reads = l->plan.r.measure != NULL;
    char text[1024];
    slot *s;
    if (l->planning || l->planned >= l->total || l->planned >= l->next + l->n_slots - 1) return 0;
    s = slot_of(l, l->planned);
    l->planning = 1;
    l->planner_bad[0] = 0;
    if (reads) pthread_mutex_unlock(&l->mu);
    const int rc = plan_next(&l->plan, &s->plan);
    if (rc) error_take(text, sizeof text);
    if (reads) pthread_mutex_lock(&l->mu);
    l->planning = 0;
    slot_begin(s, l->planned++);
    if (rc) slot_note_error(s, 0, rc, text);
    if (l->planner_bad[0]) slot_note_bad(s, 0, l->planner_bad);
    if (reads) {
        pthread_cond_broadcast(&l->work);
        pthread_cond_broadcast(&l->ready);
    }
    return 1;
}

/* Locked; unlocks while it works. The last one done with a slot packs it. */
static void finish_item(loader *l, slot *s)
{
    if (s->left > 0) return;
    pthread_mutex_unlock(&l->mu);
    slot_assemble(s, l->lengths != NULL);
    pthread_mutex_lock(&l->mu);
    s->state = SLOT_READY;
    pthread_cond_broadcast(&l->ready);
}

/* Locked. One record, or 0 if there is nothing to do now. */
static int work_once(loader *l, reader *r)
{
    slot *s;
    int32_t item;
    if (l->paused) return 0;
    if (l->taking == l->planned && !plan_more(l)) return 0;
    if (l->paused || l->taking == l->planned) return 1; /* others were at it while this one planned */
    s = slot_of(l, l->taking);
    l->busy++;
    if (s->plan.n_work) {
        item = s->plan.work[s->next_work++];
        if (s->next_work == s->plan.n_work) l->taking++;
        pthread_mutex_unlock(&l->mu);
        read_item(l, r, s, item);
        pthread_mutex_lock(&l->mu);
        s->left--;
    } else {
        l->taking++; /* this rank has no sample in the step */
    }
    finish_item(l, s);
    if (!--l->busy && l->paused) pthread_cond_broadcast(&l->ready);
    return 1;
}

static void *reader_run(void *arg)
{
    reader *r = arg;
    loader *l = r->job;
    pthread_mutex_lock(&l->mu);
    while (!l->stop)
        if (!work_once(l, r)) pthread_cond_wait(&l->work, &l->mu);
    pthread_mutex_unlock(&l->mu);
    return NULL;
}

static int scan_lengths(loader *l)
{
    char bad[1024];
    int64_t usable = 0, n_bad = 0, first_bad, n = l->plan.r.n_records;
    int rc;
    l->lengths = mem_calloc((size_t)n, sizeof *l->lengths);
    if (!l->lengths) return CO_E_NOMEM;
    rc = reader_scan(l->readers, l->n_readers, l->subset, n, l->lengths, &first_bad, bad, sizeof bad);
    if (rc) return rc;
    for (int64_t i = 0; i < n; i++) {
        usable += l->lengths[i].state == SAMPLE_OK;
        n_bad += l->lengths[i].state == SAMPLE_BAD;
    }
    if (n_bad) log_line(CO_LOG_WARN, "data", "%lld broken records are passed over, the first: %s", (long long)n_bad, bad);
    for (int64_t i = 0; i < n; i++) {
        l->totals.cut += l->lengths[i].cut;
        l->totals.dropped += l->lengths[i].state == SAMPLE_DROPPED;
    }
    l->totals.bad = n_bad;
    if (!usable)
        return FAIL(CO_E_FORMAT, "%s: none of the %lld records can be used: %lld are broken, the others have no answer within "
                    "max_len = %d tokens", l->name, (long long)n, (long long)n_bad, l->c.max_len);
    l->plan.r.lengths = l->lengths;
    return CO_OK;
}

/* The number of steps is given: lengths are measured as steps are planned. */
static int start_planner(loader *l)
{
    l->lengths = mem_calloc((size_t)l->plan.r.n_records, sizeof *l->lengths);
    if (!l->lengths) return CO_E_NOMEM;
    l->plan.r.lengths = l->lengths;
    l->plan.r.measure = measure_place;
    l->plan.r.ctx = l;
    return reader_init(&l->planner, &l->maker, l->c.dataset_self, 1, &l->dataset_mu, l->c.skip_bad);
}

static int start_readers(loader *l)
{
    int32_t n = l->c.n_threads > 0 ? l->c.n_threads : 1;
    l->readers = mem_calloc((size_t)n, sizeof *l->readers);
    if (!l->readers) return CO_E_NOMEM;
    for (; l->n_readers < n; l->n_readers++) {
        int rc = reader_init(&l->readers[l->n_readers], &l->maker, l->c.dataset_self, l->n_readers > 0, &l->dataset_mu,
                             l->c.skip_bad);
        if (rc) return rc;
    }
    /* The first reads through the dataset's own handle, which the others share if it cannot be cloned. */
    if (n > 1) l->readers[0].shared = l->readers[1].shared;
    return CO_OK;
}

static int start_threads(loader *l)
{
    for (; l->n_threads < l->c.n_threads; l->n_threads++) {
        reader *r = &l->readers[l->n_threads];
        int err;
        r->job = l;
        err = pthread_create(&r->thread, NULL, reader_run, r);
        if (err) return FAIL(CO_E_NOMEM, "cannot start reader thread %d: %s", l->n_threads + 1, strerror(err));
    }
    return CO_OK;
}

static int start_slots(loader *l)
{
    int32_t n = (l->c.ahead > 0 ? l->c.ahead : 2) + 1; /* one is the caller's */
    l->slots = mem_calloc((size_t)n, sizeof *l->slots);
    if (!l->slots) return CO_E_NOMEM;
    for (; l->n_slots < n; l->n_slots++) {
        int rc = slot_init(&l->slots[l->n_slots], &l->plan.sizes);
        if (rc) return rc;
        l->totals.held_bytes += l->slots[l->n_slots].bytes;
    }
    return CO_OK;
}

static int count_steps(loader *l)
{
    if (l->c.max_steps > 0) {
        l->total = l->c.max_steps;
        return CO_OK;
    }
    for (int64_t e = 0; e < l->c.epochs; e++) {
        int64_t n;
        int rc = plan_steps_of(&l->plan, e, &n);
        if (rc) return rc;
        l->total += n;
    }
    return CO_OK;
}

static int check_config(const loader_config *c)
{
    if (!c->dataset || !c->tokenizer) return FAIL(CO_E_INVALID, "loader_open: no dataset or no tokenizer");
    if (c->max_steps <= 0 && c->epochs < 1)
        return FAIL(CO_E_CONFIG, "[run] epochs = %lld: at least 1 (or set max_steps)", (long long)c->epochs);
    if (c->n_threads < 0 || c->n_threads > MAX_THREADS)
        return FAIL(CO_E_CONFIG, "%d reader threads: 0 to %d", c->n_threads, MAX_THREADS);
    if (c->ahead < 0 || c->ahead > MAX_AHEAD) return FAIL(CO_E_CONFIG, "%d steps ahead: 0 to %d", c->ahead, MAX_AHEAD);
    return CO_OK;
}

/* Narrows the rules to this loader's part of a split. */
static int take_part(loader *l, plan_rules *rules)
{
    const loader_config *c = &l->c;
    int64_t all = rules->n_records;
    int rc;
    if (c->split <= 0 || c->split >= 1) return CO_OK;
    if (c->beside && c->beside->subset) rc = subset_rest(c->beside->subset, c->beside->plan.r.n_records, all, &l->subset, &rules->n_records);
    else rc = subset_build(l->readers, l->n_readers, all, c->split, c->held_out, &l->subset, &rules->n_records);
    if (rc) return rc;
    if (!rules->n_records)
        return FAIL(CO_E_CONFIG, "%s: [dataset] split = %g leaves none of the %lld records %s", l->name, c->split, (long long)all,
                    c->held_out ? "for evaluation" : "to train on");
    rules->subset = l->subset;
    return CO_OK;
}

/* Counts the texts' ids: from here on a record is a block. */
static int cut_blocks(loader *l, plan_rules *rules)
{
    char bad[1024];
    int rc = blocks_scan(l->readers, l->n_readers, l->subset, rules->n_records, l->c.max_len, &l->blocks, bad, sizeof bad);
    if (rc) return rc;
    l->totals.bad = l->blocks.n_bad;
    if (l->blocks.n_bad) log_line(CO_LOG_WARN, "data", "%lld broken records are passed over, the first: %s", (long long)l->blocks.n_bad, bad);
    if (l->blocks.n_ids < 2) return FAIL(CO_E_FORMAT, "%s: no text to learn from in %lld records", l->name, (long long)rules->n_records);
    mem_free(l->subset);
    l->subset = NULL;
    rules->subset = NULL;
    rules->n_records = l->blocks.n_blocks;
    l->maker.blocks = &l->blocks;
    return CO_OK;
}

static int block_lengths(loader *l)
{
    const blocks *b = &l->blocks;
    l->lengths = mem_calloc((size_t)b->n_blocks, sizeof *l->lengths);
    if (!l->lengths) return CO_E_NOMEM;
    for (int64_t i = 0; i < b->n_blocks; i++) {
        const int32_t n = i + 1 < b->n_blocks || b->n_ids % b->len == 0 ? b->len : (int32_t)(b->n_ids % b->len);
        l->lengths[i] = (sample_length){ .n = n, .n_labels = n - 1, .state = n > 1 ? SAMPLE_OK : SAMPLE_DROPPED, .known = 1 };
    }
    l->plan.r.lengths = l->lengths;
    return CO_OK;
}

static int open_template(loader *l)
{
    const loader_config *c = &l->c;
    const template_args t = { .name = c->texts ? "none" : c->templ, .model_dir = c->model_dir, .tokenizer = c->tokenizer, .tokenizer_self = c->tokenizer_self,
                              .bos = c->bos, .eos = c->eos, .before = c->before };
    int rc = template_open(&t, &l->templ);
    if (!rc) rc = columns_parse(c->columns, &l->columns);
    if (!rc && l->columns.given && l->columns.name[PART_OUTPUT] && !l->columns.name[PART_INSTRUCTION] && !template_simple(l->templ))
        rc = FAIL(CO_E_CONFIG, "[dataset] columns: template %s needs instruction=…", template_name(l->templ));
    l->c.templ = l->c.model_dir = l->c.columns = l->c.name = NULL;
    l->maker = (sample_maker){ .dataset = c->dataset, .templ = l->templ, .columns = &l->columns, .name = l->name, .locate = c->locate,
                               .max_len = c->max_len, .texts = c->texts };
    return rc;
}

/* The first place whose record is not before `index`; of texts the first block that begins with such a record's ids or behind them. */
static int64_t place_of(const loader *l, int64_t n, int64_t index)
{
    int64_t lo = 0, hi = l->c.texts ? l->blocks.n_pieces : n;
    if (!l->c.texts && !l->subset) return index;
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if ((l->c.texts ? l->blocks.pieces[mid].record : l->subset[mid]) < index) lo = mid + 1;
        else hi = mid;
    }
    return l->c.texts ? (l->blocks.pieces[lo].first + l->blocks.len - 1) / l->blocks.len : lo;
}

static int open_mix(loader *l, plan_rules *rules)
{
    const loader_config *c = &l->c;
    if (!c->n_sources || c->held_out) return CO_OK;
    l->parts = mem_calloc((size_t)c->n_sources, sizeof *l->parts);
    if (!l->parts) return CO_E_NOMEM;
    for (int32_t i = 0; i < c->n_sources; i++) {
        const loader_source *s = &c->sources[i];
        mix_source *p = &l->parts[i];
        p->first = place_of(l, rules->n_records, s->first);
        p->n = p->share = place_of(l, rules->n_records, s->first + s->n) - p->first;
        p->weight = s->weight;
        if (!p->n)
            return FAIL(CO_E_FORMAT, "source %s has no %s%s", s->name, c->texts ? "block of its own" : "record",
                        l->subset ? " to train on: [dataset] split holds them all out" : "");
    }
    if (!(c->sources[0].weight > 0)) return CO_OK;
    mix_open(l->parts, (size_t)c->n_sources, rules->n_records, &l->mix);
    rules->mix = &l->mix;
    return CO_OK;
}

static int open_parts(loader *l)
{
    const loader_config *c = &l->c;
    plan_rules rules = { .seed = c->seed, .shuffle = c->shuffle, .size = c->size, .accumulation = c->accumulation,
                         .tokens = c->tokens, .rank = c->rank, .world = c->world, .max_len = c->max_len };
    int rc = open_template(l);
    if (rc) return rc;
    rc = c->dataset->count(c->dataset_self, &rules.n_records);
    if (rc) return rc;
    if (rules.n_records < 1) return FAIL(CO_E_FORMAT, "%s: the dataset is empty: it has no record", l->name);
    rc = sample_recognise(&l->maker, c->dataset_self, rules.n_records, &l->known_by);
    if (rc) return rc;
    rc = start_readers(l);
    if (!rc) rc = take_part(l, &rules);
    if (!rc && c->texts) rc = cut_blocks(l, &rules);
    if (!rc) rc = open_mix(l, &rules);
    if (!rc && c->tokens <= 0) l->noted = mem_calloc((size_t)(rules.n_records / 8 + 1), 1);
    if (!rc && c->tokens <= 0 && !l->noted) rc = CO_E_NOMEM;
    if (!rc) rc = plan_open(&rules, &l->plan);
    if (!rc && c->tokens > 0) rc = c->texts ? block_lengths(l) : c->max_steps > 0 ? start_planner(l) : scan_lengths(l);
    if (!rc) rc = count_steps(l);
    if (!rc) rc = start_slots(l);
    if (!rc) rc = plan_seek(&l->plan, 0);
    return rc ? rc : start_threads(l);
}

int loader_open(const loader_config *c, loader **out)
{
    loader *l;
    int rc = check_config(c);
    if (rc) return rc;
    l = mem_calloc(1, sizeof *l);
    if (!l) return CO_E_NOMEM;
    l->c = *c;
    pthread_mutex_init(&l->mu, NULL);
    pthread_mutex_init(&l->dataset_mu, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    l->name = mem_strdup(c->name ? c->name : "dataset");
    rc = l->name ? open_parts(l) : CO_E_NOMEM;
    if (rc) {
        loader_release(l);
        return rc;
    }
    *out = l;
    return CO_OK;
}

void loader_release(loader *l)
{
    if (!l) return;
    pthread_mutex_lock(&l->mu);
    l->stop = 1;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->mu);
    for (int32_t i = 0; i < l->n_threads; i++) pthread_join(l->readers[i].thread, NULL);
    for (int32_t i = 0; i < l->n_readers; i++) reader_deinit(&l->readers[i]);
    reader_deinit(&l->planner);
    for (int32_t i = 0; i < l->n_slots; i++) slot_deinit(&l->slots[i]);
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->dataset_mu);
    pthread_mutex_destroy(&l->mu);
    plan_close(&l->plan);
    template_close(l->templ);
    columns_free(&l->columns);
    blocks_free(&l->blocks);
    mem_free(l->lengths);
    mem_free(l->subset);
    mem_free(l->parts);
    mem_free(l->noted);
    mem_free(l->readers);
    mem_free(l->slots);
    mem_free(l->name);
    mem_free(l);
}

void loader_capacity(const loader *l, int32_t *tokens, int32_t *seqs)
{
    const plan_rules *r = &l->plan.r;
    *tokens = r->tokens > 0 ? r->tokens : r->size * r->max_len;
    *seqs = r->tokens > 0 ? r->tokens / 2 : r->size;
}

int64_t loader_n_records(const loader *l) { return l->plan.r.n_records; }

int loader_source_at(const loader *l, int32_t i, loader_source *out)
{
    if (i < 0 || i >= l->c.n_sources || !l->parts) return CO_END;
    *out = l->c.sources[i];
    out->first = l->parts[i].first;
    out->n = l->parts[i].n;
    out->share = l->parts[i].share;
    return CO_OK;
}

int64_t loader_total_steps(loader *l) { return l->total; }

int64_t loader_steps_per_epoch(loader *l, int64_t epoch)
{
    int64_t n = 0;
    int rc;
    pthread_mutex_lock(&l->mu);
    while (l->planning) pthread_cond_wait(&l->ready, &l->mu);
    rc = plan_steps_of(&l->plan, epoch, &n);
    pthread_mutex_unlock(&l->mu);
    return rc ? rc : n;
}

int loader_seek(loader *l, int64_t step)
{
    int rc;
    if (step < 0 || step > l->total)
        return FAIL(CO_E_INVALID, "step %lld of a run of %lld", (long long)step, (long long)l->total);
    pthread_mutex_lock(&l->mu);
    l->paused = 1;
    /* Waits for the records being read at this moment, no longer. */
    while (l->busy || l->planning) pthread_cond_wait(&l->ready, &l->mu);
    rc = plan_seek(&l->plan, step);
    if (!rc) {
        for (int32_t i = 0; i < l->n_slots; i++) l->slots[i].state = SLOT_FREE;
        l->next = l->planned = l->taking = step;
        l->unusable_run = 0;
    }
    l->paused = 0;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->mu);
    return rc;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The caller's thread. What is worth saying or refusing about a step that was read. */
static int judge_step(loader *l, const slot *s)
{
    const step_batch *o = &s->out;
    if (s->error_code) return FAIL(s->error_code, "%s", s->error);
    if (s->bad_item >= 0 && l->warned < MAX_WARNINGS) {
        log_line(CO_LOG_WARN, "data", "record passed over: %s%s", s->bad,
                 ++l->warned == MAX_WARNINGS ? " (no more of these are shown)" : "");
    }
    l->unusable_run = o->n_samples ? 0 : l->unusable_run + s->plan.n_records;
    if (l->unusable_run >= l->plan.r.n_records)
        return FAIL(CO_E_FORMAT, "%s: none of the %lld records can be used: each is broken or has no answer within max_len = %d "
                    "tokens", l->name, (long long)l->plan.r.n_records, l->c.max_len);
    return CO_OK;
}

/* By count: records that are seen for the first time. By tokens the scan has counted them, or, measured as steps are planned, the
 * first pass does. */
static void count_unusual(loader *l, const slot *s)
{
    if (l->plan.r.measure && s->out.epoch <= 1) {
        l->totals.cut += s->plan.n_cut;
        l->totals.bad += s->plan.n_bad;
        l->totals.dropped += s->plan.n_dropped;
    }
    for (int32_t i = 0; l->noted && i < s->plan.n_items; i++) {
        const plan_item *it = &s->plan.items[i];
        uint8_t *byte = &l->noted[it->place / 8], bit = (uint8_t)(1 << it->place % 8);
        if ((it->state == SAMPLE_OK && !it->cut) || *byte & bit) continue;
        *byte |= bit;
        l->totals.cut += it->cut;
        l->totals.bad += it->state == SAMPLE_BAD;
        l->totals.dropped += it->state == SAMPLE_DROPPED;
    }
}

int loader_next(loader *l, const step_batch **out)
{
    slot *s;
    int rc;
    double start = seconds();
    *out = NULL;
    if (l->next >= l->total) return CO_END;
    pthread_mutex_lock(&l->mu);
    s = slot_of(l, l->next);
    while (s->state != SLOT_READY || s->out.step != l->next)
        if (l->n_threads) pthread_cond_wait(&l->ready, &l->mu);
        else work_once(l, &l->readers[0]);
    pthread_mutex_unlock(&l->mu);
    l->totals.wait_s += seconds() - start;
    rc = judge_step(l, s);
    if (rc) return rc;
    l->totals.steps++;
    l->totals.samples += s->out.n_samples;
    l->totals.tokens += s->out.n_tokens;
    l->totals.labels += s->out.n_labels;
    count_unusual(l, s);
    *out = &s->out;
    pthread_mutex_lock(&l->mu);
    l->next++;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->mu);
    return CO_OK;
}

void loader_stats(const loader *l, loader_totals *out) { *out = l->totals; }

/* Record `place` of this part beside the readers. */
static int peek(loader *l, int64_t place, co_arena *a, sample *out)
{
    const co_dataset_vt *vt = l->c.dataset;
    const int clone = CO_HAS(co_dataset_vt, vt, clone);
    void *self = l->c.dataset_self;
    if (place < 0 || place >= l->plan.r.n_records) return CO_END;
    int rc = clone ? vt->clone(l->c.dataset_self, &self) : CO_OK;
    if (rc) return rc;
    if (!clone) pthread_mutex_lock(&l->dataset_mu);
    rc = sample_make(&l->maker, self, l->subset ? l->subset[place] : place, a, out);
    if (clone) vt->close(self);
    else pthread_mutex_unlock(&l->dataset_mu);
    return rc;
}

int loader_peek(loader *l, int64_t place, co_arena *a, const int32_t **ids, int32_t *n, int32_t *n_prompt)
{
    sample s;
    int rc = peek(l, place, a, &s);
    if (rc) return rc;
    *ids = s.ids;
    *n = s.n;
    *n_prompt = s.n_prompt;
    return CO_OK;
}

int32_t loader_stop_id(const loader *l) { return template_stop_id(l->templ); }

int loader_describe(loader *l, char **out)
{
    enum { LOOK_AT = 16 };
    co_arena *a = arena_new(1 << 16);
    sample s = { .n = 0 };
    int64_t place = 0;
    char *shown = NULL;
    int rc = a ? CO_E_FORMAT : CO_E_NOMEM;
    for (; (rc == CO_E_FORMAT || (rc == CO_OK && !s.n_labels)) && place < LOOK_AT && place < l->plan.r.n_records; place++) {
        arena_reset(a);
        rc = peek(l, place, a, &s);
    }
    if (rc == CO_OK) shown = sample_show(l->templ, l->c.tokenizer, l->c.tokenizer_self, &s);
    if (rc == CO_OK) {
        const char *file;
        int64_t row;
        sample_locate(&l->maker, l->c.dataset_self, l->c.texts ? 0 : l->subset ? l->subset[place - 1] : place - 1, &file, &row);
        if (l->c.texts)
            *out = mem_printf("%s: texts, %lld tokens in blocks of %d, every token learnt\nthe first block:\n%s", l->name, (long long)l->blocks.n_ids,
                              l->c.max_len, shown ? shown : "");
        else *out = mem_printf("%s: %s records, template %s\n%s: row %lld: %d tokens, %d of them learnt (\"+\")%s\n%s", l->name,
                          record_kind_name(l->maker.kind), template_name(l->templ), file, (long long)row, s.n, s.n_labels, s.cut ? ", cut to max_len" : "",
                          shown ? shown : "");
        rc = *out ? CO_OK : CO_E_NOMEM;
    }
    mem_free(shown);
    if (a) arena_free(a);
    return rc;
}
