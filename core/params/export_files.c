#include "core/params/export_files.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "core/base/error.h"
#include "core/base/memory.h"
#include "core/params/json.h"

#define COPY_MAX (256u << 20) /* bytes of a tokenizer file */

static int has(const char *dir, const char *name)
{
    char *path = fs_join(dir, name);
    int yes = path && fs_is_file(path);
    mem_free(path);
    return yes;
}

/* Only what an export could have made is ever replaced. */
static int check_target(const char *dir)
{
    char **names;
    size_t n;
    if (!fs_is_dir(dir)) {
        if (fs_is_file(dir)) return FAIL(CO_E_CONFIG, "%s: is a file; a folder for the model was to be made there", dir);
        return CO_OK;
    }
    if (has(dir, "config.json") && (has(dir, "model.safetensors") || has(dir, "model.safetensors.index.json")))
        return CO_OK;
    if (has(dir, "adapter_config.json") && has(dir, "adapter_model.safetensors")) return CO_OK;
    int rc = fs_list(dir, &names, &n);
    if (rc) return rc;
    fs_free_list(names, n);
    if (n) return FAIL(CO_E_CONFIG, "%s: exists and is no model or adapter directory; it is left alone, choose another place", dir);
    return CO_OK;
}

int export_begin(const char *dir, char **dir_out, char **tmp_out)
{
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') n--;
    *dir_out = mem_printf("%.*s", (int)n, dir);
    char *tmp = mem_printf("%.*s.tmp", (int)n, dir);
    char *parent = *dir_out ? fs_dirname(*dir_out) : NULL;
    int rc = CO_E_NOMEM;
    if (!*dir_out || !tmp || !parent) goto done;
    rc = check_target(*dir_out);
    if (rc == CO_OK) rc = fs_mkdirs(parent);
    if (rc == CO_OK) rc = fs_remove_tree(tmp); /* of a run that was killed */
    if (rc == CO_OK) rc = fs_mkdirs(tmp);
    if (rc == CO_OK) {
        *tmp_out = tmp;
        tmp = NULL;
    }
done:
    mem_free(parent);
    mem_free(tmp);
    return rc;
}

int export_file(const char *dir, const char *name, const char *text, size_t len)
{
    char *path = fs_join(dir, name);
    if (!path) return CO_E_NOMEM;
    int rc = fs_write_atomic(path, text, len);
    mem_free(path);
    return rc;
}

/* Byte range of the value of top-level `key`, from its first byte to one past its last; 0 if there is none. */
static int find_value(const char *text, size_t len, const char *key, size_t *from, size_t *to)
{
    json_reader r;
    int found = 0;
    json_init(&r, "config.json", text, len);
    for (int t = json_next(&r); t > 0 && !found; t = json_next(&r)) {
        if (t != JSON_KEY || r.depth != 1 || strcmp(r.str, key) != 0) continue;
        t = json_next(&r);
        *from = r.token_at;
        found = t > 0 && json_skip(&r, t) == CO_OK;
        *to = r.pos;
    }
    json_close(&r);
    return found;
}

int export_config_number(const char *text, const char *key, int64_t value, char **out)
{
    size_t from, to;
    if (!find_value(text, strlen(text), key, &from, &to)) return FAIL(CO_E_FORMAT, "config.json: no \"%s\" in it", key);
    *out = mem_printf("%.*s%lld%s", (int)from, text, (long long)value, text + to);
    return *out ? CO_OK : CO_E_NOMEM;
}

int export_config_text(const char *text, const char *dtype, char **out)
{
    size_t len = strlen(text), from, to;
    if (find_value(text, len, "torch_dtype", &from, &to) || find_value(text, len, "dtype", &from, &to)) {
        *out = mem_printf("%.*s\"%s\"%s", (int)from, text, dtype, text + to);
    } else {
        const char *brace = strchr(text, '{') + 1; /* an object: hf_config saw to it */
        const char *next = brace + strspn(brace, " \t\r\n");
        *out = mem_printf("%.*s\n  \"torch_dtype\": \"%s\"%s%s", (int)(brace - text), text, dtype,
                          *next == '}' ? "\n" : ",", *next == '}' ? next : brace);
    }
    return *out ? CO_OK : CO_E_NOMEM;
}

int export_tokenizer(const char *dir, const char *from)
{
    static const char *const names[] = {
        "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "vocab.txt", "merges.txt", "spiece.model", "chat_template.jinja", "chat_template.json",
        "generation_config.json"};
    int rc = CO_OK;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && rc == CO_OK; i++) {
        char *data = NULL, *path = fs_join(from, names[i]);
        size_t len;
        if (!path) return CO_E_NOMEM;
        if (fs_is_file(path)) {
            rc = fs_read_all(path, &data, &len, COPY_MAX);
            if (rc == CO_OK) rc = export_file(dir, names[i], data, len);
        }
        mem_free(data);
        mem_free(path);
    }
    return rc;
}

static int swap_in_two(const char *dir, const char *tmp)
{
    char *old = mem_printf("%s.old", dir);
    if (!old) return CO_E_NOMEM;
    int rc = fs_remove_tree(old);
    if (rc == CO_OK) rc = fs_rename_durable(dir, old);
    if (rc == CO_OK) rc = fs_rename_durable(tmp, dir);
    if (rc == CO_OK) rc = fs_remove_tree(old);
    mem_free(old);
    return rc;
}

int export_swap(const char *dir, const char *tmp)
{
    int rc = fs_sync_dir(tmp);
    if (rc) return rc;
    if (!fs_is_dir(dir)) return fs_rename_durable(tmp, dir);
    if (renameat2(AT_FDCWD, tmp, AT_FDCWD, dir, RENAME_EXCHANGE) != 0) {
        if (errno == EINVAL || errno == ENOSYS) return swap_in_two(dir, tmp);
        return FAIL(CO_E_IO, "%s: cannot take the place of %s: %s", tmp, dir, strerror(errno));
    }
    char *parent = fs_dirname(dir);
    if (!parent) return CO_E_NOMEM;
    rc = fs_sync_dir(parent);
    if (rc == CO_OK) rc = fs_remove_tree(tmp); /* the old one */
    mem_free(parent);
    return rc;
}

void export_discard(const char *tmp)
{
    char kept[2048];
    error_take(kept, sizeof kept);
    fs_remove_tree(tmp);
    FAIL(CO_E_IO, "%s", kept);
}
