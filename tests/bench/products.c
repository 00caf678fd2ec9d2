/*
 * products: our matrix product beside OpenBLAS's, on one thread, for the shapes of training (docs/adr/0001).
 * GFLOP/s, best of five; `products [KERNELS]`. OpenBLAS picks its kernel, or takes OPENBLAS_CORETYPE's.
 */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>

#include "worker/base/cpu.h"
#include "worker/ops/gemm.h"

enum { PACKED, AT_THE_CALL, BLAS, WAYS, ROUNDS = 5 };

static const struct {
	int m, n, k;
} shapes[] = {{184, 1536, 384}, {184, 384, 1536}, {184, 384, 384}, {16, 384, 384}, {184, 16, 384},
	{200, 3072, 768}, {200, 768, 3072}, {200, 768, 768}};

static void once(const struct kernels *kernels, struct gemm g, const real *packed, int way)
{
	if (way == BLAS) {
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, g.m, g.n, g.k, 1, g.a, g.k, g.b, g.k, 0,
			g.c, g.n);
		return;
	}
	g.packed = way == PACKED ? packed : NULL;
	kernels->gemm(&g);
}

static double best(const struct kernels *kernels, struct gemm g, const real *packed, int way)
{
	double flop = 2.0 * g.m * g.n * g.k, seconds = 1e9;
	int repeats = (int)(1e9 / flop) + 1;

	for (int round = 0; round < ROUNDS; round++) {
		double start = cpu_seconds(), spent;

		for (int i = 0; i < repeats; i++)
			once(kernels, g, packed, way);
		spent = (cpu_seconds() - start) / repeats;
		seconds = spent < seconds ? spent : seconds;
	}
	return flop / seconds / 1e9;
}

static real *ramp(size_t n)
{
	real *x = malloc(n * sizeof(*x));

	for (size_t i = 0; x != NULL && i < n; i++)
		x[i] = (real)(i % 251) / 251 - (real)0.5;
	return x;
}

int main(int argc, char **argv)
{
	const struct kernels *kernels = argc > 1 ? kernels_named(argv[1]) : kernels_best();

	if (kernels == NULL)
		return 64;
	printf("| rows x outputs x inputs | %s, packed | packed at the call | OpenBLAS |\n| --- | --- | --- "
	       "| --- |\n",
		kernels->name);
	for (size_t i = 0; i < NELEM(shapes); i++) {
		int m = shapes[i].m, n = shapes[i].n, k = shapes[i].k;
		real *a = ramp((size_t)m * (size_t)k), *b = ramp((size_t)n * (size_t)k),
		     *c = ramp((size_t)m * (size_t)n);
		real *scratch = ramp(kernels->gemm_scratch_reals(k)),
		     *packed = ramp(kernels->gemm_packed_reals(n, k));
		struct gemm g = gemm_of(c, gemm_plain(a, k), gemm_transposed(b, k), m, n, k, scratch);

		kernels->gemm_pack(packed, &g);
		printf("| %d x %d x %d |", m, n, k);
		for (int way = 0; way < WAYS; way++)
			printf(" %.0f |", best(kernels, g, packed, way));
		printf("\n");
		free(a);
		free(b);
		free(c);
		free(scratch);
		free(packed);
	}
	return 0;
}
