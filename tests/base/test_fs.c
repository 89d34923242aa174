/* test_fs.c: paths, listings, whole files, and writes that are complete or absent. */
#include "check.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include "core/base/memory.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/coati-fs-XXXXXX";

static char *in(const char *name) { return fs_join(root, name); }

static int holds(const char *path, const char *want)
{
    char *text;
    size_t n;
    int same = fs_read_all(path, &text, &n, 1 << 20) == CO_OK && n == strlen(want) && memcmp(text, want, n) == 0 && text[n] == 0;
    mem_free(text);
    return same;
}
static size_t entries(const char *dir)
{
    char **names;
    size_t n = 0;
    if (fs_list(dir, &names, &n) != CO_OK) return 999;
    fs_free_list(names, n);
    return n;
}

static void same(char *got, const char *want)
{
    CHECK_STR(got ? got : "(null)", want);
    mem_free(got);
}
static void test_paths(void)
{
    same(fs_join("a", "b"), "a/b");
    same(fs_join("a/", "b"), "a/b");
    same(fs_join("a", "/b"), "/b");
    same(fs_join("", "b"), "b");
    same(fs_join(NULL, "b"), "b");
    same(fs_dirname("a/b/c"), "a/b");
    same(fs_dirname("c"), ".");
    same(fs_dirname("/c"), "/");
    same(fs_absolute("/x/y"), "/x/y");
    CHECK_STR(fs_basename("a/b"), "b");
    CHECK_STR(fs_basename("b"), "b");
    char *abs = fs_absolute("x");
    CHECK(abs && abs[0] == '/' && strcmp(fs_basename(abs), "x") == 0);
    mem_free(abs);
}

static void test_atomic_write(void)
{
    char *dir = in("atomic"), *path = in("atomic/file");
    CHECK(fs_mkdirs(dir) == CO_OK);
    CHECK(fs_write_atomic(path, "one", 3) == CO_OK);
    CHECK(holds(path, "one"));
    CHECK(fs_write_atomic(path, "", 0) == CO_OK);
    CHECK(holds(path, ""));
    char *big = mem_alloc(1 << 20, 0);
    memset(big, 'z', (1 << 20) - 1);
    CHECK(fs_write_atomic(path, big, (1 << 20) - 1) == CO_OK);
    CHECK(holds(path, big));
    CHECK(entries(dir) == 1); /* no .tmp is left */
    mem_free(big);
    mem_free(path);
    mem_free(dir);
}

static void test_atomic_write_that_fails(void)
{
    char *dir = in("refused"), *path = in("refused/target"), *inside = in("refused/target/keep");
    CHECK(fs_mkdirs(path) == CO_OK); /* a folder is where the file should go: the last step, the rename, fails */
    CHECK(fs_write_atomic(inside, "kept", 4) == CO_OK);
    CHECK(fs_write_atomic(path, "new", 3) == CO_E_IO);
    CHECK_HAS(error_message(), path);
    CHECK(holds(inside, "kept"));
    CHECK(entries(dir) == 1);
    mem_free(inside);
    mem_free(path);
    path = in("nowhere/file");
    CHECK(fs_write_atomic(path, "x", 1) == CO_E_IO);
    CHECK_HAS(error_message(), "nowhere/file.tmp");
    CHECK_HAS(error_message(), "No such file");
    mem_fail_after(1);
    CHECK(fs_write_atomic(path, "x", 1) == CO_E_NOMEM);
    mem_free(path);
    mem_free(dir);
}

static void test_a_full_disk_is_no_memory(void)
{
    const int fd = open("/dev/full", O_WRONLY);
    if (fd < 0) return;
    CHECK(fs_write_all(fd, "some/file", "x", 1) == CO_E_NOMEM);
    CHECK_HAS(error_message(), "some/file");
    CHECK_HAS(error_message(), "disk full");
    close(fd);
    CHECK(fs_write_all(-1, "f", "x", 1) == CO_E_IO);
}

static void test_folders(void)
{
    char *deep = in("a/b/c"), *file = in("a/file"), *under = in("a/file/x"), *link = in("a/link"), *top = in("a");
    char **names;
    size_t n;
    CHECK(fs_mkdirs(deep) == CO_OK);
    CHECK(fs_mkdirs(deep) == CO_OK);
    CHECK(fs_is_dir(deep) && !fs_is_file(deep));
    CHECK(fs_write_atomic(file, "x", 1) == CO_OK);
    CHECK(fs_is_file(file) && !fs_is_dir(file));
    CHECK(fs_mkdirs(under) == CO_E_IO);
    CHECK_HAS(error_message(), "Not a directory");
    CHECK(symlink(root, link) == 0);
    CHECK(fs_list(top, &names, &n) == CO_OK);
    CHECK(n == 3 && strcmp(names[0], "b") == 0 && strcmp(names[1], "file") == 0 && strcmp(names[2], "link") == 0);
    fs_free_list(names, n);
    for (int k = 1; k <= 3; k++) { /* each allocation of a listing fails once */
        mem_fail_after(k);
        CHECK(fs_list(top, &names, &n) == CO_E_NOMEM && names == NULL && n == 0);
    }
    CHECK(fs_remove_tree(top) == CO_OK);
    CHECK(!fs_is_dir(top));
    CHECK(fs_is_dir(root)); /* the link went, not what it points to */
    CHECK(fs_remove_tree(top) == CO_OK);
    CHECK(fs_list(top, &names, &n) == CO_E_IO);
    mem_free(top);
    mem_free(link);
    mem_free(under);
    mem_free(file);
    mem_free(deep);
}

static void test_reading(void)
{
    char *path = in("read"), *text;
    size_t n;
    int64_t size = 0;
    fs_map m;
    CHECK(fs_write_atomic(path, "12345", 5) == CO_OK);
    CHECK(fs_size(path, &size) == CO_OK && size == 5);
    CHECK(fs_read_all(path, &text, &n, 5) == CO_OK && n == 5);
    mem_free(text);
    CHECK(fs_read_all(path, &text, &n, 4) == CO_E_FORMAT && text == NULL);
    CHECK_HAS(error_message(), "has 5 bytes");
    CHECK(fs_read_all(root, &text, &n, 100) == CO_E_IO);
    CHECK_HAS(error_message(), "is not a file");
    CHECK(fs_map_open(path, &m) == CO_OK && m.len == 5 && memcmp(m.data, "12345", 5) == 0);
    fs_map_close(&m);
    CHECK(fs_write_atomic(path, "", 0) == CO_OK);
    CHECK(fs_map_open(path, &m) == CO_OK && m.len == 0 && m.data != NULL);
    fs_map_close(&m);
    CHECK(fs_map_open(root, &m) == CO_E_IO);
    mem_free(path);
    path = in("absent");
    CHECK(fs_read_all(path, &text, &n, 5) == CO_E_IO);
    CHECK_HAS(error_message(), "absent");
    CHECK(fs_map_open(path, &m) == CO_E_IO);
    CHECK(fs_size(path, &size) == CO_E_IO);
    mem_free(path);
    uint64_t room = 0;
    CHECK(fs_free_bytes(root, &room) == CO_OK && room > 0);
}

int main(void)
{
    if (!mkdtemp(root)) return perror(root), 1;
    test_paths();
    test_atomic_write();
    test_atomic_write_that_fails();
    test_a_full_disk_is_no_memory();
    test_folders();
    test_reading();
    CHECK(fs_remove_tree(root) == CO_OK);
    return check_done();
}
