/* elf.h: what a shared object shows to the outside, read from the file (ELF, 64 bits, little-endian). */
#ifndef TOOLS_COATI_VALIDATE_ELF_H
#define TOOLS_COATI_VALIDATE_ELF_H
#include <coati/abi.h>

typedef struct elf_facts {
    int64_t bytes;
    char exported[600]; /* defined global functions and data, comma-separated; without weak ones, which C++ makes */
    char needed[600];   /* libraries, likewise */
    uint32_t n_exported;
    int textrel, runpath; /* relocations in code; DT_RPATH or DT_RUNPATH */
} elf_facts;

/* CO_E_FORMAT: no such file. */
int elf_read(const char *path, elf_facts *out);
#endif
