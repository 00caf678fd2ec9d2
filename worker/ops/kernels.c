/*
 * One table of kernels, for the instruction set that this compilation is for (-DISA=plain, avx2, avx512, avx512bf16).
 */
#include "worker/ops/kernels.h"

#include "worker/ops/attention_kernel.h"
#include "worker/ops/bf16_kernel.h"
#include "worker/ops/gemm_kernel.h"
#include "worker/ops/kernel_tables.h"
#include "worker/ops/pointwise_kernel.h"

#define PASTE(a, b)  a##b
#define EXPAND(a, b) PASTE(a, b)
#define TEXT(a)	     #a
#define QUOTE(a)     TEXT(a)

const struct kernels EXPAND(kernels_, ISA) = {
	.name = QUOTE(ISA),
	.gemm_scratch_reals = gemm_scratch_reals,
	.gemm_packed_reals = gemm_packed_reals,
	.gemm_pack = gemm_pack,
	.gemm = gemm_run,
#ifdef HAS_BF16
	.bf16_packed_count = bf16_packed_count,
	.bf16_scratch_count = bf16_scratch_count,
	.bf16_pack = bf16_pack,
	.bf16_gemm = bf16_gemm,
#endif
	.activation = activation,
	.dropout = dropout_rows,
	.norm_fwd = norm_fwd,
	.norm_bwd = norm_bwd,
	.attention_stride = attention_stride,
	.attention_scratch_reals = attention_scratch_reals,
	.attention_fwd = attention_fwd,
	.attention_bwd = attention_bwd,
	.add = add,
	.mul = mul,
	.scale = scale_by,
	.add_columns = add_columns,
	.sum_of_squares = sum_of_squares,
	.adamw = adamw,
};
