#include "worker/scan/tail.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TAIL_MIN = 8 };

/* Of a clean sample to lose its largest value as an outlier. */
static const double OUTLIER_CHANCE = 1e-3;

static int compare_reals(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Of ascending x: linear between ranks. */
static double quantile(const double *x, int n, double q)
{
	double at = q * (n - 1);
	int i = (int)at;

	return i + 1 < n ? x[i] + (at - i) * (x[i + 1] - x[i]) : x[n - 1];
}

static double scale_at(const double *excess, int n, double q)
{
	return MAX((quantile(excess, n, q) - excess[0]) / -log(1 - q), 1e-9 + 1e-6 * fabs(excess[0]));
}

/* How many of n excesses are no outliers under the scale that the median gives. */
static int count_inliers(const double *excess, int n)
{
	double most = excess[0] + scale_at(excess, n, .5) * log(n / OUTLIER_CHANCE);

	while (n > TAIL_MIN / 2 && excess[n - 1] > most)
		n--;
	return n;
}

int tail_fit(struct tail *out, const double *x, int n, double share, double of, struct err *err)
{
	int in_tail = MIN(MAX((int)(share * n), TAIL_MIN), n);
	const double *excess;

	*out = (struct tail){.n = n, .of = of, .x = malloc((size_t)n * sizeof(*x))};
	if (out->x == NULL)
		return err_nomem(err);
	memcpy(out->x, x, (size_t)n * sizeof(*x));
	qsort(out->x, (size_t)n, sizeof(*x), compare_reals);
	excess = out->x + n - in_tail;
	out->share = (double)in_tail / n;
	out->threshold = excess[0];
	in_tail = count_inliers(excess, in_tail);
	out->scale = MAX(scale_at(excess, in_tail, .5), scale_at(excess, in_tail, .75));
	return 0;
}

void tail_done(struct tail *tail)
{
	free(tail->x);
	*tail = (struct tail){0};
}

/* How many of the sample are >= x. */
static int count_from(const struct tail *tail, double x)
{
	int low = 0, high = tail->n;

	while (low < high) {
		int middle = low + (high - low) / 2;

		if (tail->x[middle] >= x)
			high = middle;
		else
			low = middle + 1;
	}
	return tail->n - low;
}

double tail_p(const struct tail *tail, double x)
{
	double p = x > tail->threshold ? tail->share * exp((tail->threshold - x) / tail->scale)
				       : (double)MAX(count_from(tail, x), 1) / tail->n;

	return MAX(tail->of * p, 1e-300);
}
