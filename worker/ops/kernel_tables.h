/* kernel_tables: the tables that kernels.c defines, one per instruction set. */
#ifndef OBLIVIATE_KERNEL_TABLES_H
#define OBLIVIATE_KERNEL_TABLES_H

#include "worker/ops/kernels.h"

extern const struct kernels kernels_plain;
#if defined(__x86_64__)
extern const struct kernels kernels_avx2;
extern const struct kernels kernels_avx512;
extern const struct kernels kernels_avx512bf16;
#endif

#endif
