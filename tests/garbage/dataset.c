/* dataset.c: garbage from each function of a dataset. */
#include "garbage.h"
#include GUIDE_BLOCK

static int g_open(const co_host *h, const void *o, void **self)
{
    *self = (void *)16;
    CODE("open");
    return my_open(h, o, self);
}
static int g_count(void *self, int64_t *n)
{
    CODE("count");
    const int r = my_count(self, n);
    if (garbage("count:negative")) *n = -7;
    if (garbage("count:huge")) *n = INT64_MAX;
    if (garbage("count:none")) *n = 0;
    if (garbage("count:more")) *n += 5;
    return r;
}
static int g_read(void *self, int64_t i, co_arena *a, co_field **f, uint32_t *n)
{
    if (i > 3) CODE("read");
    if (garbage("read:nothing")) return CO_OK;
    if (garbage("read:end") && i == 2) return CO_END;
    const int r = my_read(self, i, a, f, n);
    if (r) return r;
    if (garbage("read:null")) *f = NULL;
    if (garbage("read:many")) *n = 4000000000u;
    if (garbage("read:name")) (*f)[1].name = NULL;
    if (garbage("read:data")) (*f)[0].data = NULL;
    if (garbage("read:long")) (*f)[0].len = SIZE_MAX / 2;
    if (garbage("read:nul")) (*f)[0].len = 3;
    if (garbage("read:type")) (*f)[2].type = 77;
    return CO_OK;
}
static int g_clone(void *self, void **other)
{
    (void)self;
    *other = (void *)16;
    CODE("clone");
    return CO_FAIL(((my_data *)self)->host, CO_E_DEVICE, "a clone is never wanted here");
}
static const co_dataset_vt vt = {.struct_size = sizeof vt, .suffixes = suffixes, .open = g_open, .close = my_close, .count = g_count, .read = g_read};
static const co_dataset_vt with_clone = {.struct_size = sizeof vt, .suffixes = suffixes, .open = g_open, .close = my_close, .count = g_count, .read = g_read, .clone = g_clone};
static const co_feature plain_feature = {.struct_size = sizeof plain_feature, .kind = CO_KIND_DATASET, .name = "my_data", .summary = "garbage", .vt = &vt};
static const co_feature clone_feature = {.struct_size = sizeof clone_feature, .kind = CO_KIND_DATASET, .name = "my_data", .summary = "garbage", .vt = &with_clone};
static const co_feature *const plain_list[] = {&plain_feature, NULL}, *const clone_list[] = {&clone_feature, NULL};
static const co_plugin plain = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof plain, .name = "my_data", .version = "1", .features = plain_list};
static const co_plugin cloning = {.magic = CO_MAGIC_INIT(0), .struct_size = sizeof cloning, .name = "my_data", .version = "1", .features = clone_list};
CO_EXPORT const co_plugin *CO_ENTRY(void);
const co_plugin *CO_ENTRY(void) { return code("clone") ? &cloning : &plain; }
