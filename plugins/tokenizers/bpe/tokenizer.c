#include "tokenizer.h"
#include <sys/stat.h>

enum { MODEL_FILE_MAX = 512 << 20, BESIDE_MAX = 64 << 20 }; /* bytes */

/* Tokens that are looked for in normalised text are looked for as what they become there, and decode to it. */
static int watch_tokens(bpe_tokenizer *t, bpe_words *w)
{
    int rc = CO_OK;
    for (size_t i = 0; rc == CO_OK && i < t->added.n; i++) {
        bpe_added_token *a = &t->added.tokens[i];
        const char *text = a->text;
        size_t len = a->len;
        int at_start = 1;
        if (a->normalized) rc = bpe_normal_run(&t->normal, &t->unicode, w, &text, &len, &at_start);
        if (rc == CO_OK && len == 0) rc = CO_FAIL(t->host, CO_E_UNSUPPORTED, "tokenizer: the added token \"%s\" normalises to nothing", a->text);
        a->normal_at = (uint32_t)t->added.normal_texts.len;
        a->normal_len = (uint32_t)len;
        if (rc == CO_OK && a->normalized) rc = bpe_bytes_add(t->host, &t->added.normal_texts, text, len);
        if (rc == CO_OK) rc = bpe_added_watch(t->host, &t->added, a->normalized, text, len, i);
        if (rc == CO_OK) rc = bpe_added_keep(t->host, &t->added, i);
    }
    return rc;
}

int bpe_finish(bpe_tokenizer *t, const bpe_at *decoder)
{
    bpe_words *w = bpe_words_new(t->host);
    if (!w) return CO_E_NOMEM;
    int rc = watch_tokens(t, w);
    bpe_tokenizer_give_back(t, w);
    return rc ? rc : bpe_pieces_read(t->host, decoder, &t->model.vocab, &t->added, &t->pieces);
}

/* Text between added tokens. */
static int encode_gap(bpe_tokenizer *t, bpe_words *w, const char *text, size_t len, int at_start, int no_special)
{
    bpe_added_scan s = {.no_special = no_special};
    int rc = bpe_normal_run(&t->normal, &t->unicode, w, &text, &len, &at_start), more = 1;
    while (rc == CO_OK && more) {
        more = bpe_added_next(&t->added, &t->added.normal, &t->unicode, text, len, &s);
        rc = bpe_steps_run(&t->steps, &t->unicode, &t->model, w, text + s.gap_at, s.gap_len, at_start && s.gap_at == 0);
        if (rc == CO_OK && more) rc = bpe_words_room(w, 1);
        if (rc == CO_OK && more) w->ids[w->n_ids++] = s.token->id;
    }
    return rc;
}

static int encode(bpe_tokenizer *t, bpe_words *w, const char *text, size_t len, int at_start, int no_special)
{
    bpe_added_scan s = {.no_special = no_special};
    int rc = bpe_words_room(w, len / 3 + 64), more = 1;
    while (rc == CO_OK && more) {
        more = bpe_added_next(&t->added, &t->added.plain, &t->unicode, text, len, &s);
        if (s.gap_len) rc = encode_gap(t, w, text + s.gap_at, s.gap_len, at_start && s.gap_at == 0, no_special);
        if (rc == CO_OK && more) rc = bpe_words_room(w, 1);
        if (rc == CO_OK && more) w->ids[w->n_ids++] = s.token->id;
    }
    return rc;
}

static int repair(bpe_words *w, const char *text, size_t len)
{
    int rc = CO_OK;
    w->repaired.len = 0;
    while (rc == CO_OK && len) {
        const size_t whole = bpe_utf8_valid(text, len);
        rc = bpe_bytes_add(w->host, &w->repaired, text, whole);
        text += whole, len -= whole;
        if (rc || !len) break;
        rc = bpe_bytes_add(w->host, &w->repaired, "\xEF\xBF\xBD", 3);
        const size_t damage = bpe_utf8_damage(text, len);
        text += damage, len -= damage;
    }
    return rc;
}

static int take_words(bpe_tokenizer *t, bpe_words **out)
{
    pthread_mutex_lock(&t->lock);
    bpe_words *w = t->idle;
    if (w) t->idle = w->next;
    pthread_mutex_unlock(&t->lock);
    if (!w) w = bpe_words_new(t->host);
    if (!w) return CO_E_NOMEM;
    int rc = bpe_words_ready(w);
    w->n_ids = 0;
    if (rc) bpe_tokenizer_give_back(t, w);
    else *out = w;
    return rc;
}

/* Text that may be damaged. */
static int encode_any(bpe_tokenizer *t, bpe_words *w, const char *text, size_t len, int at_start, int no_special)
{
    int rc = CO_OK;
    if (bpe_utf8_valid(text, len) != len) {
        rc = repair(w, text, len);
        text = w->repaired.data;
        len = w->repaired.len;
    }
    return rc ? rc : encode(t, w, text, len, at_start, no_special);
}

int bpe_tokenizer_encode(bpe_tokenizer *t, const char *text, size_t len, bpe_words **out)
{
    bpe_words *w;
    int rc = take_words(t, &w);
    if (rc) return rc;
    rc = encode_any(t, w, text, len, 1, 0);
    if (rc) bpe_tokenizer_give_back(t, w);
    else *out = w;
    return rc;
}

static const bpe_added_token *added_by_id(const bpe_tokenizer *t, int32_t id)
{
    for (size_t i = 0; i < t->added.n; i++)
        if (t->added.tokens[i].id == (uint32_t)id) return &t->added.tokens[i];
    return NULL;
}

static int is_space_at(const bpe_tokenizer *t, const char *p, const char *end)
{
    const uint8_t *q = (const uint8_t *)p;
    if (bpe_utf8_valid(p, end - p < 4 ? (size_t)(end - p) : 4) < bpe_utf8_len(*q)) return 0;
    return (bpe_class(&t->unicode, bpe_utf8_next(&q)) & BPE_SPACE) != 0;
}

static size_t step_back(const char *text, size_t at)
{
    do at--;
    while (at && ((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

int bpe_tokenizer_encode_marked(bpe_tokenizer *t, const char *text, size_t len, const co_text_mark *marks, size_t n_marks, bpe_words **out)
{
    size_t from = 0;
    bpe_words *w;
    int rc = take_words(t, &w);
    if (rc) return rc;
    for (size_t i = 0; i <= n_marks && rc == CO_OK; i++) {
        const co_text_mark *m = i < n_marks ? &marks[i] : NULL;
        const bpe_added_token *token = m ? added_by_id(t, m->id) : NULL;
        size_t to = m ? m->at : len;
        while (token && token->lstrip && to > from && is_space_at(t, text + step_back(text, to), text + to)) to = step_back(text, to);
        if (to > from) rc = encode_any(t, w, text + from, to - from, i == 0, 1);
        if (!m) break;
        if (rc == CO_OK) rc = bpe_words_room(w, 1);
        if (rc == CO_OK) w->ids[w->n_ids++] = (uint32_t)m->id;
        from = m->at + m->len;
        const size_t stop = i + 1 < n_marks ? marks[i + 1].at : len;
        while (token && token->rstrip && from < stop && is_space_at(t, text + from, text + stop)) from += bpe_utf8_len((uint8_t)text[from]);
    }
    if (rc) bpe_tokenizer_give_back(t, w);
    else *out = w;
    return rc;
}

void bpe_tokenizer_give_back(bpe_tokenizer *t, bpe_words *w)
{
    bpe_words_trim(w);
    pthread_mutex_lock(&t->lock);
    w->next = t->idle;
    t->idle = w;
    pthread_mutex_unlock(&t->lock);
}

static int is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Reads dir/name. An optional one that is missing or holds nothing but white space is passed over: f->doc.nodes is NULL. */
static int read_json(const co_host *h, const char *dir, const char *name, int optional, bpe_file *f)
{
    size_t blank = 0;
    f->path = bpe_join(h, dir, name);
    if (!f->path) return CO_E_NOMEM;
    if (optional && !is_file(f->path)) return CO_OK;
    int rc = bpe_read_file(h, f->path, optional ? BESIDE_MAX : MODEL_FILE_MAX, &f->text, &f->len);
    while (rc == CO_OK && blank < f->len && strchr(" \t\r\n", f->text[blank])) blank++;
    if (rc || (optional && blank == f->len)) return rc;
    rc = bpe_doc_read(&f->doc, h, f->path, f->text, f->len);
    const bpe_at root = bpe_root(&f->doc);
    return rc ? rc : bpe_want(&root, BPE_OBJECT);
}

static void free_file(const co_host *h, bpe_file *f)
{
    bpe_doc_free(&f->doc);
    h->free(h, f->text);
    h->free(h, f->path);
}

/* How GPT-2's form of files cuts texts is not in them: it is GPT-2's way, unless the class says it is Qwen2's. */
static int settle_class(bpe_tokenizer *t, const bpe_doc *config)
{
    const char *name = "GPT2Tokenizer";
    size_t len;
    int lead = 0, rc = CO_OK;
    bpe_at root;
    if (config) {
        root = bpe_root(config);
        rc = bpe_get_string(&root, "tokenizer_class", name, &name, &len);
        if (rc == CO_OK) rc = bpe_get_bool(&root, "add_prefix_space", 0, &lead);
        if (rc) return rc;
    }
    if (strncmp(name, "Qwen2Tokenizer", 14) == 0) {
        t->normal.step[t->normal.n++].kind = BPE_NFC;
        bpe_steps_of_byte_level(&t->steps, lead, bpe_qwen2_pattern);
    } else if (strncmp(name, "GPT2Tokenizer", 13) == 0 || strncmp(name, "PreTrainedTokenizer", 19) == 0) {
        bpe_steps_of_byte_level(&t->steps, lead, NULL);
    } else {
        return bpe_refuse(&root, CO_E_UNSUPPORTED, "tokenizer_class: vocab.json and merges.txt do not say how a text is cut, and how \"%.60s\" does is "
                          "not known here: save the tokenizer as tokenizer.json", name);
    }
    return rc;
}

static int read_vocab_form(bpe_tokenizer *t, const char *dir, const bpe_file *vocab, const bpe_beside *beside)
{
    static const char decoder_text[] = "{\"type\": \"ByteLevel\"}";
    char copy[sizeof decoder_text], *merges = NULL, *path = bpe_join(t->host, dir, "merges.txt");
    size_t len;
    bpe_doc decoder = {0};
    memcpy(copy, decoder_text, sizeof copy);
    int rc = path ? bpe_read_file(t->host, path, MODEL_FILE_MAX, &merges, &len) : CO_E_NOMEM;
    t->around = (bpe_around){-1, -1, 0};
    if (rc == CO_OK) rc = settle_class(t, beside->config);
    if (rc == CO_OK) rc = bpe_read_vocab_files(t, &vocab->doc, path, merges, len);
    if (rc == CO_OK) rc = bpe_add_beside(t, beside, 1);
    if (rc == CO_OK) rc = bpe_read_roles(t, beside);
    if (rc == CO_OK) rc = bpe_doc_read(&decoder, t->host, "ByteLevel", copy, sizeof copy - 1);
    const bpe_at root = bpe_root(&decoder);
    if (rc == CO_OK) rc = bpe_finish(t, &root);
    bpe_doc_free(&decoder);
    t->host->free(t->host, merges);
    t->host->free(t->host, path);
    return rc;
}

int bpe_read_beside(const co_host *h, const char *dir, bpe_file f[BPE_BESIDE_FILES], bpe_beside *out)
{
    static const char *const names[] = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"};
    const bpe_doc *docs[BPE_BESIDE_FILES] = {NULL};
    int rc = CO_OK;
    memset(f, 0, BPE_BESIDE_FILES * sizeof *f);
    for (int i = 0; rc == CO_OK && i < BPE_BESIDE_FILES; i++) {
        rc = read_json(h, dir, names[i], 1, &f[i]);
        if (f[i].doc.nodes) docs[i] = &f[i].doc;
    }
    *out = (bpe_beside){docs[0], docs[1], docs[2]};
    return rc;
}

void bpe_free_beside(const co_host *h, bpe_file f[BPE_BESIDE_FILES])
{
    for (int i = 0; i < BPE_BESIDE_FILES; i++) free_file(h, &f[i]);
}

static int read_all(bpe_tokenizer *t, const char *dir, const char *name)
{
    bpe_file main = {0}, files[BPE_BESIDE_FILES];
    bpe_beside beside;
    int rc = bpe_read_beside(t->host, dir, files, &beside);
    if (rc == CO_OK) rc = read_json(t->host, dir, name, 0, &main);
    if (rc == CO_OK) rc = strcmp(name, "vocab.json") == 0 ? read_vocab_form(t, dir, &main, &beside) : bpe_read_tokenizer_json(t, &main.doc, &beside);
    free_file(t->host, &main);
    bpe_free_beside(t->host, files);
    return rc;
}

static int has(const co_host *h, const char *dir, const char *name)
{
    char *path = bpe_join(h, dir, name);
    const int there = path && is_file(path);
    h->free(h, path);
    return there;
}

int bpe_tokenizer_open(const co_host *h, const char *path, bpe_tokenizer **out)
{
    struct stat st;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *dir = h->alloc(h, strlen(path) + 2, 1);
    bpe_tokenizer *t = h->alloc(h, sizeof *t, 64);
    int rc = dir && t ? CO_OK : CO_E_NOMEM;
    if (rc == CO_OK) {
        t->host = h;
        pthread_mutex_init(&t->lock, NULL);
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            memcpy(dir, path, strlen(path));
            name = !has(h, path, "tokenizer.json") && has(h, path, "vocab.json") ? "vocab.json" : "tokenizer.json";
        } else if (slash) {
            memcpy(dir, path, (size_t)(slash - path));
            if (slash == path) *dir = '/';
        } else {
            *dir = '.';
        }
        rc = bpe_unicode_open(h, &t->unicode);
        if (rc == CO_OK) rc = read_all(t, dir, name);
        if (rc) bpe_tokenizer_close(t);
        else *out = t;
    } else {
        h->free(h, t);
    }
    h->free(h, dir);
    return rc;
}

void bpe_tokenizer_close(bpe_tokenizer *t)
{
    const co_host *h = t->host;
    while (t->idle) {
        bpe_words *w = t->idle;
        t->idle = w->next;
        bpe_words_free(w);
    }
    bpe_pieces_close(h, &t->pieces);
    bpe_added_close(h, &t->added);
    bpe_model_close(&t->model);
    bpe_steps_close(h, &t->steps);
    bpe_normal_close(h, &t->normal);
    bpe_unicode_close(h, &t->unicode);
    h->free(h, t->prefix);
    h->free(h, t->suffix);
    pthread_mutex_destroy(&t->lock);
    h->free(h, t);
}
