/*
 * products: our matrix product beside OpenBLAS's, for the shapes of training (docs/adr/0001). GFLOP/s, best of five.
 *
 *   products [KERNELS]        a table, one thread
 *   products --peak THREADS   one JSON line: the best of all shapes with so many threads; OpenBLAS shares each
 *                             product among them (OPENBLAS_NUM_THREADS), ours gives each its own
 *
 * OpenBLAS picks its kernel, or takes OPENBLAS_CORETYPE's.
 */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/cpu.h"
#include "worker/base/par.h"
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

static void print_table(const struct kernels *kernels)
{
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
}

/* --- peaks ---------------------------------------------------------------------------------------- */

/* Whole panels of rows, and more of them than a training step has: what sgemm is best at. */
static const struct {
	int m, n, k;
} large[] = {{720, 1536, 384}, {720, 384, 1536}, {2048, 3072, 768}, {2048, 768, 3072}};

struct product {
	const struct kernels *kernels;
	struct gemm gemm;
	const real *packed;
	int repeats;
};

static void run_one(void *arg, int task, int thread)
{
	const struct product *products = arg, *p = &products[task];

	(void)thread;
	for (int i = 0; i < p->repeats; i++)
		once(p->kernels, p->gemm, p->packed, PACKED);
}

static struct product product_of(const struct kernels *kernels, int m, int n, int k)
{
	struct product p = {.kernels = kernels, .repeats = (int)(1e9 / (2.0 * m * n * k)) + 1};
	real *packed = ramp(kernels->gemm_packed_reals(n, k));

	p.gemm = gemm_of(ramp((size_t)m * (size_t)n), gemm_plain(ramp((size_t)m * (size_t)k), k),
		gemm_transposed(ramp((size_t)n * (size_t)k), k), m, n, k,
		ramp(kernels->gemm_scratch_reals(k)));
	kernels->gemm_pack(packed, &p.gemm);
	p.packed = packed;
	return p;
}

static double peak_of(struct par *par, struct product *products, int tasks, int way)
{
	const struct gemm *g = &products[0].gemm;
	double flop = 2.0 * g->m * g->n * g->k * products[0].repeats, top = 0;

	for (int round = 0; round < ROUNDS; round++) {
		double start = cpu_seconds(), rate;

		if (way == PACKED)
			par_run(par, tasks, run_one, products);
		else
			for (int i = 0; i < products[0].repeats; i++)
				once(products[0].kernels, *g, NULL, BLAS);
		rate = flop * (way == PACKED ? tasks : 1) / (cpu_seconds() - start) / 1e9;
		top = MAX(top, rate);
	}
	return top;
}

/* What is taken here is the process's until it ends. */
static int print_peaks(const struct kernels *kernels, int threads)
{
	struct product *products = calloc((size_t)threads, sizeof(*products));
	double ours = 0, openblas = 0;
	struct par *par;
	struct err err;

	if (products == NULL || par_new(&par, threads, &err) != 0)
		return 71;
	for (size_t i = 0; i < NELEM(large); i++) {
		for (int t = 0; t < threads; t++)
			products[t] = product_of(kernels, i < 2 ? 184 : 200, large[i].n, large[i].k);
		ours = MAX(ours, peak_of(par, products, threads, PACKED));
		products[0] = product_of(kernels, large[i].m, large[i].n, large[i].k);
		openblas = MAX(openblas, peak_of(par, products, 1, BLAS));
	}
	printf("{\"threads\": %d, \"ours\": %.1f, \"openblas\": %.1f, \"openblas_kernel\": \"%s\"}\n",
		threads, ours, openblas, openblas_get_corename());
	par_free(par);
	return 0;
}

int main(int argc, char **argv)
{
	const struct kernels *kernels = kernels_best();

	if (argc == 3 && strcmp(argv[1], "--peak") == 0)
		return print_peaks(kernels, atoi(argv[2]));
	if (argc > 1)
		kernels = kernels_named(argv[1]);
	if (kernels == NULL)
		return 64;
	print_table(kernels);
	return 0;
}
