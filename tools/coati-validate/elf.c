/* elf.c: see elf.h. Every offset is checked: the file may be anything. */
#include "elf.h"
#include "core/base/error.h"
#include "core/base/fs.h"
#include <elf.h>
#include <stdio.h>
#include <string.h>

typedef struct image { const char *p; size_t n; const char *path; } image;

static const void *at(const image *m, uint64_t offset, uint64_t size) { return offset <= m->n && size <= m->n - offset ? m->p + offset : NULL; }

static const char *text(const image *m, const Elf64_Shdr *strings, uint64_t offset)
{
    const char *s = offset < strings->sh_size ? at(m, strings->sh_offset, strings->sh_size) : NULL;
    return s && memchr(s + offset, 0, strings->sh_size - offset) ? s + offset : NULL;
}

static void add(char *list, size_t cap, const char *name)
{
    const size_t n = strlen(list);
    snprintf(list + n, cap - n, "%s%s", n ? ", " : "", name);
}

static void read_symbols(const image *m, const Elf64_Shdr *table, const Elf64_Shdr *strings, elf_facts *out)
{
    const Elf64_Sym *s = at(m, table->sh_offset, table->sh_size);
    for (size_t i = 0; s && i < table->sh_size / sizeof *s; i++) {
        const int visible = ELF64_ST_VISIBILITY(s[i].st_other) == STV_DEFAULT || ELF64_ST_VISIBILITY(s[i].st_other) == STV_PROTECTED;
        const char *name = text(m, strings, s[i].st_name);
        if (s[i].st_shndx == SHN_UNDEF || ELF64_ST_BIND(s[i].st_info) != STB_GLOBAL || !visible || !name || !*name) continue;
        out->n_exported++;
        add(out->exported, sizeof out->exported, name);
    }
}

static void read_dynamic(const image *m, const Elf64_Shdr *table, const Elf64_Shdr *strings, elf_facts *out)
{
    const Elf64_Dyn *d = at(m, table->sh_offset, table->sh_size);
    for (size_t i = 0; d && i < table->sh_size / sizeof *d && d[i].d_tag != DT_NULL; i++) {
        const char *name = d[i].d_tag == DT_NEEDED ? text(m, strings, d[i].d_un.d_val) : NULL;
        if (name) add(out->needed, sizeof out->needed, name);
        out->textrel |= d[i].d_tag == DT_TEXTREL;
        out->runpath |= d[i].d_tag == DT_RPATH || d[i].d_tag == DT_RUNPATH;
    }
}

int elf_read(const char *path, elf_facts *out)
{
    fs_map map;
    memset(out, 0, sizeof *out);
    int r = fs_map_open(path, &map);
    if (r) return r;
    const image m = {map.data, map.len, path};
    out->bytes = (int64_t)map.len;
    const Elf64_Ehdr *h = at(&m, 0, sizeof *h);
    if (!h || memcmp(h->e_ident, ELFMAG, SELFMAG) != 0 || h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_type != ET_DYN || h->e_shentsize != sizeof(Elf64_Shdr)) {
        fs_map_close(&map);
        return FAIL(CO_E_FORMAT, "%s: not a shared object (ELF, 64 bits)", path);
    }
    const Elf64_Shdr *s = h->e_shoff % 8 == 0 ? at(&m, h->e_shoff, (uint64_t)h->e_shnum * sizeof *s) : NULL;
    for (uint32_t i = 0; s && i < h->e_shnum; i++) {
        if (s[i].sh_link >= h->e_shnum || s[i].sh_offset % 8) continue;
        if (s[i].sh_type == SHT_DYNSYM) read_symbols(&m, &s[i], &s[s[i].sh_link], out);
        if (s[i].sh_type == SHT_DYNAMIC) read_dynamic(&m, &s[i], &s[s[i].sh_link], out);
    }
    fs_map_close(&map);
    return CO_OK;
}
