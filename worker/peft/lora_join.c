#include <stdlib.h>
#include <string.h>

#include "worker/peft/lora.h"

/* One map's halves: rows `from` .. of A, columns `from` .. of B. */
static void put_half(real *A, real *B, int rank, int from, const struct lora *half, int map)
{
	int D = half->D, r = half->r;
	real scale = (real)(half->alpha / r);

	memcpy(A + (size_t)from * (size_t)D, half->A[map], (size_t)r * (size_t)D * sizeof(real));
	for (int i = 0; i < D; i++)
		for (int k = 0; k < r; k++)
			B[(size_t)i * (size_t)rank + (size_t)(from + k)] =
				scale * half->B[map][(size_t)i * (size_t)r + (size_t)k];
}

static int allocate(struct lora_joined *out, struct err *err)
{
	size_t maps = (size_t)lora_maps(&out->lora);

	out->values = calloc(2 * maps * (size_t)out->lora.r * (size_t)out->lora.D + 1, sizeof(real));
	out->A = calloc(maps + 1, sizeof(*out->A));
	out->B = calloc(maps + 1, sizeof(*out->B));
	return out->values == NULL || out->A == NULL || out->B == NULL ? err_nomem(err) : 0;
}

int lora_join(struct lora_joined *out, const struct lora *first, const struct lora *second, struct err *err)
{
	const struct lora *const halves[] = {first, second};
	int rank = first->r + second->r, taken[2] = {0}, map = 0, rc;
	size_t n = (size_t)rank * (size_t)first->D;

	*out = (struct lora_joined){.lora = {.L = first->L,
					    .D = first->D,
					    .r = rank,
					    .alpha = rank,
					    .targets = first->targets | second->targets}};
	rc = allocate(out, err);
	if (rc != 0)
		return rc;
	for (int place = 0; place < out->lora.L * SITE_PROJECTIONS; place++) {
		unsigned bit = 1u << place % SITE_PROJECTIONS;
		real *A = out->values + 2 * (size_t)map * n, *B = A + n;

		if ((out->lora.targets & bit) == 0)
			continue;
		for (int i = 0; i < 2; i++)
			if ((halves[i]->targets & bit) != 0)
				put_half(A, B, rank, i == 0 ? 0 : first->r, halves[i], taken[i]++);
		out->A[map] = A;
		out->B[map++] = B;
	}
	out->lora.A = out->A;
	out->lora.B = out->B;
	return 0;
}

void lora_joined_done(struct lora_joined *joined)
{
	free(joined->values);
	free(joined->A);
	free(joined->B);
	*joined = (struct lora_joined){0};
}
