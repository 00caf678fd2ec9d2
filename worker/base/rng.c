#include "worker/base/rng.h"

#include <math.h>

double rng_normal(uint64_t key, uint64_t index)
{
	static const double TWO_PI = 6.283185307179586476925286766559;
	double u = 1 - rng_unit(key, 2 * index); /* in (0, 1], so that log is finite */
	double v = rng_unit(key, 2 * index + 1);

	return sqrt(-2 * log(u)) * cos(TWO_PI * v);
}

void rng_shuffle(int *order, int n, uint64_t key)
{
	for (int i = 0; i < n; i++)
		order[i] = i;
	for (int i = n - 1; i > 0; i--) {
		int j = (int)rng_below(key, (uint64_t)i, (uint32_t)i + 1);
		int t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}
