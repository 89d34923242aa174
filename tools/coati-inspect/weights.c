/* weights.c: tensors of a file; what a model's or adapter's directory holds. */
#include "inspect.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/log.h"
#include "core/base/memory.h"
#include "core/lora/adapter.h"
#include "core/params/hf_config.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint64_t elements(const st_tensor *t)
{
    uint64_t n = 1;
    for (uint32_t i = 0; i < t->ndim; i++) n *= (uint64_t)t->ne[i];
    return n;
}

static void print_tensors(const st_set *s)
{
    uint64_t total = 0, bytes = 0;
    int width = 20;
    char a[32], b[32], shape[160];
    for (size_t i = 0; i < st_count(s); i++) {
        const int n = (int)strlen(st_at(s, i)->name);
        if (n > width) width = n < 80 ? n : 80;
        total += elements(st_at(s, i));
        bytes += st_at(s, i)->bytes;
    }
    printf("  tensors   %zu, %s elements, %s\n", st_count(s), text_count(total, a), text_bytes(bytes, b));
    if (st_metadata(s, "format")) printf("  format    %s\n", st_metadata(s, "format"));
    printf("  %-*s %-6s %-22s %s\n", width, "name", "dtype", "shape", "bytes");
    for (size_t i = 0; i < st_count(s); i++) {
        const st_tensor *t = st_at(s, i);
        printf("  %-*s %-6s %-22s %s\n", width, t->name, t->dtype_name, text_shape(t, shape), text_count(t->bytes, a));
    }
}

int inspect_weights(const char *path)
{
    st_set *s = NULL;
    int r = st_open_file(path, &s);
    if (r) return r;
    printf("%s: safetensors\n", path);
    print_tensors(s);
    st_close(s);
    return CO_OK;
}

static void print_served(host *h, const char *type)
{
    (void)host_load_all(h, CO_KIND_MODEL, NULL, NULL);
    for (size_t i = 0; i < host_count(h); i++) {
        const co_feature *f = host_at(h, i);
        const co_model_vt *vt = host_model(h, f);
        for (const char *const *t = vt ? vt->model_types : NULL; t && *t; t++)
            if (strcmp(*t, type) == 0) {
                printf("  served by model/%s\n", f->name);
                return;
            }
    }
    printf("  served by no installed model plugin\n");
}

/* Numbers that say how large a model is, by the names that the families use. */
static void print_sizes(const co_meta *m)
{
    static const char *const keys[] = {"hidden_size", "n_embd", "intermediate_size", "ffn_dim", "n_inner", "num_hidden_layers", "n_layer",
                                       "num_attention_heads", "n_head", "num_key_value_heads", "vocab_size", "max_position_embeddings", "n_positions"};
    int64_t v;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (m->i64(m, keys[i], &v) == CO_OK) printf("  %-24s %" PRId64 "\n", keys[i], v);
}

static void print_files(const char *dir, const char *label, const char *const *names)
{
    int any = 0;
    for (; *names; names++) {
        char *path = fs_join(dir, *names);
        if (path && fs_is_file(path)) printf("%s %s", any++ ? "" : label, *names);
        mem_free(path);
    }
    if (any) putchar('\n');
}

int inspect_model(host *h, const char *dir)
{
    static const char *const tokenizer_files[] = {"tokenizer.model", "tokenizer.json", "vocab.json", "merges.txt", "spiece.model", "tokenizer_config.json",
                                                  "special_tokens_map.json", "chat_template.jinja", NULL};
    hf_config *c = NULL;
    st_set *s = NULL;
    int r = hf_config_open(dir, &c);
    if (r) return r;
    printf("%s: a model, %s\n", dir, hf_config_model_type(c)[0] ? hf_config_model_type(c) : "of unknown type");
    print_served(h, hf_config_model_type(c));
    print_sizes(hf_config_meta(c));
    print_files(dir, "  tokenizer", tokenizer_files);
    char *weights = fs_join(dir, "model.safetensors"), *index = fs_join(dir, "model.safetensors.index.json");
    if (!weights || !index) r = CO_E_NOMEM;
    else if (fs_is_file(weights) || fs_is_file(index)) r = st_open_dir(dir, &s);
    else printf("  no weights: init = random can train it from a random start\n");
    if (s) print_tensors(s);
    st_close(s);
    mem_free(index);
    mem_free(weights);
    hf_config_close(c);
    return r;
}

int inspect_adapter(const char *dir)
{
    adapter *a = NULL;
    int r = adapter_open(dir, &a);
    if (r) return r;
    const lora_spec *o = adapter_spec(a);
    printf("%s: a LoRA adapter\n  rank      %" PRId64 "\n  alpha     %g\n  dropout   %g\n  targets   %s\n", dir, (int64_t)o->rank, (double)o->alpha,
           (double)o->dropout, o->targets);
    adapter_close(a);
    char *path = fs_join(dir, "adapter_model.safetensors");
    st_set *s = NULL;
    r = path ? st_open_file(path, &s) : CO_E_NOMEM;
    if (s) print_tensors(s);
    st_close(s);
    mem_free(path);
    return r;
}
