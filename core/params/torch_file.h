/* torch_file.h: PyTorch's pytorch_model.bin, read without running it. The file is a zip archive of raw tensors and one pickle, a
 * program that puts them together. What is here understands the part of that language which torch.save uses for a state
 * dict, and the few names that belong to it; anything else is refused by name. Nothing is imported, called or evaluated. */
#ifndef CORE_PARAMS_TORCH_FILE_H
#define CORE_PARAMS_TORCH_FILE_H
#include "core/params/safetensors.h"

/* One file as a set of tensors, in the order of the dict; they point into the map. Tensors that share their storage (tied
 * weights) point to the same bytes. CO_E_FORMAT: not such a file, damaged, or holds something else than contiguous tensors. */
int torch_open_file(const char *path, st_set **out);
/* pytorch_model.bin, or all files of pytorch_model.bin.index.json. */
int torch_open_dir(const char *dir, st_set **out);
int torch_is_there(const char *dir); /* does the directory hold either? */
#endif
