/* test_cpu_memory.c: free memory as the CPU backend reads it from a made-up proc and cgroup tree, and from this machine; huge pages. */
#include "backends/cpu/memory.h"
#include "check.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/host/host.h"
#include <inttypes.h>
#include <unistd.h>

static char root[] = "/tmp/coati-meminfo-XXXXXX";
static const size_t MiB = 1 << 20;

static void put(const char *path, const char *text)
{
    char *full = mem_printf("%s%s", root, path), *dir = fs_dirname(full);
    CHECK(fs_mkdirs(dir) == CO_OK);
    CHECK(fs_write_atomic(full, text, strlen(text)) == CO_OK);
    mem_free(dir);
    mem_free(full);
}
static void expect(size_t free_mib, size_t total_mib)
{
    size_t f = 0, t = 0;
    CHECK(memory_free(root, &f, &t));
    CHECK_MSG(f == free_mib * MiB && t == total_mib * MiB, "%zu of %zu MiB, want %zu of %zu", f / MiB, t / MiB, free_mib, total_mib);
}
static void again(void)
{
    CHECK(fs_remove_tree(root) == CO_OK);
    put("/proc/meminfo", "MemTotal:       8388608 kB\nMemFree:          10240 kB\nMemAvailable:    4194304 kB\nBuffers: 1 kB\n");
}

static void test_available_not_free(void)
{
    again();
    expect(4096, 8192);
    put("/proc/self/cgroup", "0::/\n");
    expect(4096, 8192);
}

static void test_cgroup_2(void)
{
    again();
    put("/proc/self/cgroup", "0::/user/run\n");
    put("/sys/fs/cgroup/user/run/memory.max", "max\n");
    put("/sys/fs/cgroup/user/memory.max", "2147483648\n"); /* the group above sets the limit */
    put("/sys/fs/cgroup/user/memory.current", "1073741824\n");
    expect(1024, 2048);
    put("/sys/fs/cgroup/user/memory.stat", "anon 5\nactive_file 7\ninactive_file 536870912\n"); /* can be dropped */
    expect(1536, 2048);
    put("/sys/fs/cgroup/user/run/memory.max", "104857600\n");
    put("/sys/fs/cgroup/user/run/memory.current", "209715200\n"); /* above its limit: nothing is left */
    expect(0, 100);
}

static void test_a_container(void)
{
    again();
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/memory.max", "1073741824");
    put("/sys/fs/cgroup/memory.current", "0");
    expect(1024, 1024);
    put("/sys/fs/cgroup/memory.max", "17179869184"); /* more than there is */
    expect(4096, 8192);
}

static void test_cgroup_1(void)
{
    again();
    put("/proc/self/cgroup", "9:name=systemd:/\n4:memory:/job\n0::/\n");
    put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "536870912\n");
    put("/sys/fs/cgroup/memory/job/memory.stat", "cache 9\ninactive_file 1\ntotal_inactive_file 268435456\n");
    expect(768, 1024);
    put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n"); /* how v1 writes none */
    expect(4096, 8192);
}

static void test_nothing_to_read(void)
{
    size_t f = 7, t = 7;
    CHECK(fs_remove_tree(root) == CO_OK);
    CHECK(!memory_free(root, &f, &t));
    put("/proc/meminfo", "MemTotal: 5 kB\n");
    CHECK(!memory_free(root, &f, &t));
}

static void test_this_machine(void)
{
    host *h = host_new(NULL);
    const co_feature *feature;
    size_t f = 0, t = 0;
    void *self;
    const int64_t opts[8] = {1};
    CHECK(host_feature(h, CO_KIND_BACKEND, "cpu", &feature) == CO_OK);
    const co_backend_vt *vt = host_backend(h, feature);
    CHECK(vt->open(host_services(h), &opts, &self) == CO_OK);
    CHECK(vt->memory(self, &f, &t) == CO_OK);
    CHECK(f > 0 && f <= t);
    vt->close(self);
    host_free(h);
}

/* The flags the kernel keeps for the mapping that `p` lies in; "" without them. */
static void flags_of(const void *p, char *out, size_t cap)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    int here = 0;
    *out = 0;
    while (f && fgets(line, sizeof line, f)) {
        uintptr_t from, to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) here = (uintptr_t)p >= from && (uintptr_t)p < to;
        else if (here && strncmp(line, "VmFlags:", 8) == 0) snprintf(out, cap, "%s", line + 8);
    }
    if (f) fclose(f);
}

/* A product over 4 KiB pages runs a tenth slower: large buffers ask for huge ones. */
static void test_huge_pages(void)
{
    static const int64_t opts[8] = {1}; /* threads, and the defaults */
    const co_feature *feature = NULL;
    host *h = host_new(NULL);
    void *self = NULL, *large = NULL, *small = NULL;
    char flags[520];
    if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0) {
        puts("huge pages: skipped, this kernel has none");
        host_free(h);
        return;
    }
    CHECK(host_feature(h, CO_KIND_BACKEND, "cpu", &feature) == CO_OK);
    const co_backend_vt *vt = host_backend(h, feature);
    CHECK(vt->open(host_services(h), &opts, &self) == CO_OK);
    CHECK(vt->alloc(self, CO_MEM_DEVICE, 16 * MiB, &large) == CO_OK);
    CHECK(vt->alloc(self, CO_MEM_DEVICE, 1000, &small) == CO_OK);
    flags_of((char *)large + 8 * MiB, flags, sizeof flags);
    CHECK_MSG(strstr(flags, " hg"), "flags of a large buffer: %s", flags);
    flags_of(small, flags, sizeof flags);
    CHECK_MSG(!strstr(flags, " hg"), "flags of a small buffer: %s", flags);
    for (size_t i = 0; i < 16 * MiB; i += 4096) CHECK(((char *)large)[i] == 0);
    vt->free(self, CO_MEM_DEVICE, large);
    vt->free(self, CO_MEM_DEVICE, small);
    vt->close(self);
    host_free(h);
}

int main(void)
{
    if (!mkdtemp(root)) return perror(root), 1;
    test_available_not_free();
    test_cgroup_2();
    test_a_container();
    test_cgroup_1();
    test_nothing_to_read();
    test_this_machine();
    test_huge_pages();
    CHECK(fs_remove_tree(root) == CO_OK);
    return check_done();
}
