#include "worker/ops/kernel_tables.h"

#include <string.h>

static bool always(void)
{
	return true;
}

#if defined(__x86_64__)
static bool has_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

static bool has_bf16(void)
{
	return has_avx512() && __builtin_cpu_supports("avx512bf16");
}
#endif

/* Widest first. */
static const struct {
	const struct kernels *kernels;
	bool (*runs_here)(void);
} tables[] = {
#if defined(__x86_64__)
	{&kernels_avx512bf16, has_bf16},
	{&kernels_avx512, has_avx512},
	{&kernels_avx2, has_avx2},
#endif
	{&kernels_plain, always},
};

const struct kernels *kernels_best(void)
{
	for (size_t i = 0;; i++)
		if (tables[i].runs_here())
			return tables[i].kernels;
}

const struct kernels *kernels_named(const char *name)
{
	for (size_t i = 0; i < NELEM(tables); i++)
		if (strcmp(tables[i].kernels->name, name) == 0)
			return tables[i].runs_here() ? tables[i].kernels : NULL;
	return NULL;
}
