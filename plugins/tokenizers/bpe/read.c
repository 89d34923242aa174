/* read.c: the outermost level of tokenizer.json, and its added tokens. */
#include "tokenizer.h"

/* Settings of batches, not of texts: coati cuts by [dataset] max_len and never pads. */
static int note_batch_setting(bpe_tokenizer *t, const bpe_at *root, const char *key)
{
    bpe_at a;
    if (!bpe_member(root, key, &a)) return CO_OK;
    int rc = bpe_want(&a, BPE_OBJECT);
    if (rc == CO_OK && t->host->log)
        t->host->log(t->host, CO_LOG_WARN, "tokenizer", "%s: %s: is for batches, and not applied: [dataset] max_len cuts, and nothing is padded",
                     root->doc->name, key);
    return rc;
}

static int read_added(bpe_tokenizer *t, const bpe_at *root)
{
    static const char *const keys[] = {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special", NULL};
    bpe_at list, one, id;
    uint32_t says;
    int rc = CO_OK;
    if (!bpe_member(root, "added_tokens", &list)) return CO_OK;
    rc = bpe_want(&list, BPE_ARRAY);
    for (uint32_t i = 0; rc == CO_OK && bpe_element(&list, i, &one); i++) {
        bpe_added_token token = {0};
        rc = bpe_keys(&one, keys);
        if (rc == CO_OK) rc = bpe_need_string(&one, "content", &token.text, &token.len);
        if (rc == CO_OK) rc = bpe_read_flags(&one, &token);
        if (rc == CO_OK) rc = bpe_need_member(&one, "id", &id);
        if (rc == CO_OK) rc = bpe_uint(&id, INT32_MAX, &says);
        if (rc == CO_OK) rc = bpe_add_token(t, &one, &token, says);
    }
    return rc;
}

int bpe_read_tokenizer_json(bpe_tokenizer *t, const bpe_doc *d, const bpe_beside *beside)
{
    static const char *const keys[] = {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                                       "decoder", "model", NULL};
    const bpe_at root = bpe_root(d);
    const char *version;
    size_t len;
    bpe_at a, model;
    int rc = bpe_keys(&root, keys);
    if (rc == CO_OK) rc = bpe_get_string(&root, "version", "1.0", &version, &len);
    if (rc == CO_OK && strcmp(version, "1.0") != 0) rc = bpe_refuse(&root, CO_E_UNSUPPORTED, "version \"%s\"; 1.0 is read", version);
    if (rc == CO_OK) rc = note_batch_setting(t, &root, "truncation");
    if (rc == CO_OK) rc = note_batch_setting(t, &root, "padding");
    if (rc == CO_OK) rc = bpe_normal_read(bpe_member(&root, "normalizer", &a) ? &a : NULL, &t->normal);
    if (rc == CO_OK) rc = bpe_steps_read(bpe_member(&root, "pre_tokenizer", &a) ? &a : NULL, &t->steps);
    if (rc == CO_OK) rc = bpe_around_read(bpe_member(&root, "post_processor", &a) ? &a : NULL, &t->around);
    if (rc == CO_OK) rc = bpe_need_member(&root, "model", &model);
    if (rc == CO_OK) rc = bpe_read_model(t, &model);
    if (rc == CO_OK) rc = read_added(t, &root);
    if (rc == CO_OK) rc = bpe_add_beside(t, beside, 0);
    if (rc == CO_OK) rc = bpe_read_roles(t, beside);
    if (rc == CO_OK) rc = bpe_finish(t, bpe_member(&root, "decoder", &a) ? &a : NULL);
    if (rc == CO_OK && (t->around.before >= (int32_t)t->pieces.n || t->around.after >= (int32_t)t->pieces.n))
        rc = bpe_refuse(&root, CO_E_FORMAT, "post_processor: an id beyond the vocabulary's %u", t->pieces.n);
    return rc;
}
