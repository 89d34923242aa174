#include "around.h"
#include <string.h>

static int put(const bpe_at *a, int32_t *to, uint32_t id)
{
    if (*to >= 0) return bpe_refuse(a, CO_E_UNSUPPORTED, "more than one token before, or after, a text");
    *to = (int32_t)id;
    return CO_OK;
}

/* {"SpecialToken": {"id": "<s>", …}} and its one id in the template's special_tokens. */
static int read_special(const bpe_at *template, const bpe_at *piece, uint32_t *id)
{
    static const char *const keys[] = {"id", "ids", "tokens", NULL};
    const char *name, *again;
    size_t len;
    bpe_at table, entry, ids, one;
    int rc = bpe_need_string(piece, "id", &name, &len);
    if (rc == CO_OK) rc = bpe_need_member(template, "special_tokens", &table);
    if (rc == CO_OK) rc = bpe_want(&table, BPE_OBJECT);
    if (rc == CO_OK) rc = bpe_need_member(&table, name, &entry);
    if (rc == CO_OK) rc = bpe_keys(&entry, keys);
    if (rc == CO_OK) rc = bpe_need_string(&entry, "id", &again, &len);
    if (rc == CO_OK) rc = bpe_need_member(&entry, "ids", &ids);
    if (rc == CO_OK) rc = bpe_want(&ids, BPE_ARRAY);
    if (rc) return rc;
    if (bpe_node_of(&ids)->len != 1) return bpe_refuse(&ids, CO_E_UNSUPPORTED, "%u ids; one was expected", bpe_node_of(&ids)->len);
    bpe_element(&ids, 0, &one);
    return bpe_uint(&one, INT32_MAX, id);
}

static int read_template(const bpe_at *a, bpe_around *out)
{
    static const char *const keys[] = {"type", "single", "pair", "special_tokens", NULL}, *const kinds[] = {"SpecialToken", "Sequence", NULL};
    bpe_at single, piece, what;
    int behind = 0, rc = bpe_keys(a, keys);
    const char *name;
    size_t len;
    uint32_t id;
    if (rc == CO_OK) rc = bpe_need_member(a, "single", &single);
    if (rc == CO_OK) rc = bpe_want(&single, BPE_ARRAY);
    for (uint32_t i = 0; rc == CO_OK && bpe_element(&single, i, &piece); i++) {
        rc = bpe_keys(&piece, kinds);
        if (rc) break;
        if (bpe_member(&piece, "Sequence", &what)) {
            rc = bpe_need_string(&what, "id", &name, &len);
            if (rc == CO_OK && (strcmp(name, "A") != 0 || behind)) rc = bpe_refuse(&what, CO_E_UNSUPPORTED, "anything but one text \"A\" is not offered");
            behind = 1;
        } else {
            rc = bpe_need_member(&piece, "SpecialToken", &what);
            if (rc == CO_OK) rc = read_special(a, &what, &id);
            if (rc == CO_OK) rc = put(&what, behind ? &out->after : &out->before, id);
        }
    }
    if (rc == CO_OK && !behind) rc = bpe_refuse(&single, CO_E_UNSUPPORTED, "a template without the text");
    return rc;
}

/* ["</s>", 2] */
static int read_pair(const bpe_at *a, const char *key, int32_t *to)
{
    bpe_at pair, text, id;
    uint32_t v = 0;
    int rc = bpe_need_member(a, key, &pair);
    if (rc == CO_OK) rc = bpe_want(&pair, BPE_ARRAY);
    if (rc == CO_OK && bpe_node_of(&pair)->len != 2) rc = bpe_refuse(&pair, CO_E_FORMAT, "a token and its id were expected");
    if (rc) return rc;
    bpe_element(&pair, 0, &text);
    id = text;
    bpe_element(&pair, 1, &id);
    rc = bpe_want(&text, BPE_STRING);
    if (rc == CO_OK) rc = bpe_uint(&id, INT32_MAX, &v);
    return rc ? rc : put(&pair, to, v);
}

static int read_one(const bpe_at *a, bpe_around *out, int depth)
{
    static const char *const level[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL},
                      *const ends[] = {"type", "sep", "cls", "trim_offsets", "add_prefix_space", NULL}, *const sequence[] = {"type", "processors", NULL};
    const char *type;
    size_t len;
    bpe_at at, list;
    int rc = bpe_want(a, BPE_OBJECT);
    if (rc == CO_OK) rc = bpe_need_string(a, "type", &type, &len);
    if (rc) return rc;
    if (strcmp(type, "TemplateProcessing") == 0) return out->said = 1, read_template(a, out);
    if (strcmp(type, "ByteLevel") == 0) return bpe_keys(a, level); /* about offsets, which are not asked for */
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
        out->said = 1;
        rc = bpe_keys(a, ends);
        if (rc == CO_OK) rc = read_pair(a, "cls", &out->before);
        return rc ? rc : read_pair(a, "sep", &out->after);
    }
    if (strcmp(type, "Sequence") == 0 && depth < 8) {
        rc = bpe_keys(a, sequence);
        if (rc == CO_OK) rc = bpe_need_member(a, "processors", &list);
        if (rc == CO_OK) rc = bpe_want(&list, BPE_ARRAY);
        for (uint32_t i = 0; rc == CO_OK && bpe_element(&list, i, &at); i++) rc = read_one(&at, out, depth + 1);
        return rc;
    }
    bpe_member(a, "type", &at);
    return bpe_refuse(&at, CO_E_UNSUPPORTED, "\"%s\" is not offered; TemplateProcessing, ByteLevel, RobertaProcessing, BertProcessing and Sequence are", type);
}

int bpe_around_read(const bpe_at *a, bpe_around *out)
{
    *out = (bpe_around){-1, -1, 0};
    return a ? read_one(a, out, 0) : CO_OK;
}
