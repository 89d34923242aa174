/* test_cpu_memory.c: free memory as the CPU backend reads it from a made-up proc and cgroup tree, and from this machine. */
#include "backends/cpu/memory.h"
#include "check.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include "core/host/host.h"

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
    const struct { int64_t threads; } opts = {1};
    CHECK(host_feature(h, CO_KIND_BACKEND, "cpu", &feature) == CO_OK);
    const co_backend_vt *vt = host_backend(h, feature);
    CHECK(vt->open(host_services(h), &opts, &self) == CO_OK);
    CHECK(vt->memory(self, &f, &t) == CO_OK);
    CHECK(f > 0 && f <= t);
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
    CHECK(fs_remove_tree(root) == CO_OK);
    return check_done();
}
