/* adapter_config.c: adapter_config.json. */
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/lora/adapter_impl.h"
#include "core/params/json.h"
#include <stdlib.h>
#include <string.h>

static int number(json_reader *j, int token, double *out)
{
    char text[64];
    const size_t n = j->pos - j->token_at;
    if (token != JSON_NUMBER || n >= sizeof text) return json_fail(j, "expected a number");
    memcpy(text, j->text + j->token_at, n);
    text[n] = 0;
    *out = strtod(text, NULL);
    return CO_OK;
}

static int flag(json_reader *j, int token, int32_t *out)
{
    if (token != JSON_TRUE && token != JSON_FALSE && token != JSON_NULL) return json_fail(j, "expected true or false");
    *out = token == JSON_TRUE;
    return CO_OK;
}

static int bias_mode(json_reader *j, int token, int32_t *out)
{
    static const char *const modes[] = {"none", "all", "lora_only"};
    for (int32_t i = 0; i < 3; i++)
        if (token == JSON_STRING && strcmp(j->str, modes[i]) == 0) return *out = i, CO_OK;
    return json_fail(j, "bias: expected \"none\", \"all\" or \"lora_only\"");
}

/* Settings that change the result and that we do not compute: null, false, or an empty list or object is fine. */
static int refuse(json_reader *j, int token, const char *key)
{
    if (token == JSON_NULL || token == JSON_FALSE) return CO_OK;
    if (token == JSON_OBJECT || token == JSON_ARRAY) {
        const int next = json_next(j);
        if (next < 0) return next;
        if (next == JSON_OBJECT_END || next == JSON_ARRAY_END) return CO_OK;
    }
    return json_fail(j, "\"%s\" is not offered: the adapter would give other results here", key);
}

/* Some ways to start change the base too (PiSSA subtracts A and B from it): such an adapter is no difference to the stored base. */
static int start(json_reader *j, int token)
{
    static const char *const fine[] = {"gaussian", "eva", "orthogonal"};
    if (token == JSON_TRUE || token == JSON_FALSE || token == JSON_NULL) return CO_OK;
    for (size_t i = 0; token == JSON_STRING && i < sizeof fine / sizeof *fine; i++)
        if (strcmp(j->str, fine[i]) == 0) return CO_OK;
    if (token != JSON_STRING) return json_fail(j, "init_lora_weights: expected true, false or a name");
    return json_fail(j, "init_lora_weights: \"%.40s\" is not offered: it changes the base model too", j->str);
}

static int one_key(json_reader *j, adapter *a, const char *key, int token)
{
    static const char *const refused[] = {"use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "megatron_config",
                                          "layer_replication", "target_parameters", "trainable_token_indices", "use_qalora", "lora_bias",
                                          "use_bdlora", "alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config"};
    int64_t rank;
    if (strcmp(key, "peft_type") == 0)
        return token == JSON_STRING && strcmp(j->str, "LORA") == 0 ? CO_OK : json_fail(j, "peft_type: only LORA is offered");
    if (strcmp(key, "r") == 0) {
        const int r = json_int(j, token, &rank);
        if (r == CO_OK) a->spec.rank = rank;
        return r;
    }
    if (strcmp(key, "lora_alpha") == 0) return number(j, token, &a->spec.alpha);
    if (strcmp(key, "lora_dropout") == 0) return number(j, token, &a->spec.dropout);
    if (strcmp(key, "use_rslora") == 0) return flag(j, token, &a->spec.rslora);
    if (strcmp(key, "bias") == 0) return bias_mode(j, token, &a->spec.bias);
    if (strcmp(key, "init_lora_weights") == 0) return start(j, token);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (strcmp(key, refused[i]) == 0) return refuse(j, token, refused[i]);
    return json_skip(j, token);
}

static int read_object(json_reader *j, adapter *a)
{
    char key[128];
    int token = json_next(j);
    if (token < 0) return token;
    if (token != JSON_OBJECT) return json_fail(j, "expected an object with the adapter's settings");
    while ((token = json_next(j)) == JSON_KEY) {
        const size_t n = j->str_len < sizeof key - 1 ? j->str_len : sizeof key - 1;
        memcpy(key, j->str, n);
        key[n] = 0;
        token = json_next(j);
        if (token < 0) return token;
        const int r = one_key(j, a, key, token);
        if (r) return r;
    }
    return token < 0 ? token : CO_OK;
}

int adapter_read_config(adapter *a, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    json_reader j;
    int r = fs_read_all(path, &text, &n, 1 << 20);
    if (r) return r;
    json_init(&j, path, text, n);
    a->spec = (lora_spec){.rank = 0, .alpha = 8};
    r = read_object(&j, a);
    json_close(&j);
    mem_free(text);
    if (r == CO_OK && a->spec.rank < 1) r = FAIL(CO_E_FORMAT, "%s: \"r\" is %lld; at least 1 is needed", path, (long long)a->spec.rank);
    if (r == CO_OK && !(a->spec.alpha > 0)) r = FAIL(CO_E_FORMAT, "%s: \"lora_alpha\" is %g; it must be above 0", path, a->spec.alpha);
    if (r == CO_OK && !(a->spec.dropout >= 0 && a->spec.dropout < 1))
        r = FAIL(CO_E_FORMAT, "%s: \"lora_dropout\" is %g; it must be at least 0 and below 1", path, a->spec.dropout);
    return r;
}
