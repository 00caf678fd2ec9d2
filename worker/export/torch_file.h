/*
 * torch_file: tensors as a PyTorch .bin that torch.load(weights_only=True) takes (torch 2.13).
 *
 * A zip archive, every entry stored, dated 1980-01-01, its bytes at a multiple of 64:
 *
 *   archive/data.pkl     pickle, protocol 2: an OrderedDict of name -> _rebuild_tensor_v2(storage, 0, shape, stride)
 *   archive/byteorder    "little"
 *   archive/data/N       the N-th tensor's bytes, row-major
 *   archive/version      "3\n"
 *
 * The pickle names three globals: collections.OrderedDict, torch._utils._rebuild_tensor_v2, torch.FloatStorage.
 * The bytes depend on names, shapes and values alone. Archives are below 4 GiB (ERR_TOO_LARGE).
 */
#ifndef OBLIVIATE_TORCH_FILE_H
#define OBLIVIATE_TORCH_FILE_H

#include "worker/export/tensor_list.h"

/* Write dirfd/name through a temporary file. */
int torch_file_write(int dirfd, const char *name, const struct tensor_list *list, struct err *err) MUST_USE;

#endif
