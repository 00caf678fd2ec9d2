#include "worker/train/loss.h"

#include <math.h>

int loss_arg_max(const real *x, int n)
{
	int best = 0;

	for (int i = 1; i < n; i++)
		if (x[i] > x[best])
			best = i;
	return best;
}

double loss_ce(
	real *d_logits, int *correct, const real *logits, const int *labels, int n, int K, double scale)
{
	double total = 0;

	for (int i = 0; i < n; i++) {
		const real *x = logits + (size_t)i * (size_t)K;
		int best = loss_arg_max(x, K);
		double sum = 0;

		for (int j = 0; j < K; j++)
			sum += exp((double)x[j] - (double)x[best]);
		total += log(sum) - ((double)x[labels[i]] - (double)x[best]);
		if (correct != NULL)
			*correct += best == labels[i];
		for (int j = 0; j < K; j++) {
			double p = exp((double)x[j] - (double)x[best]) / sum;

			d_logits[(size_t)i * (size_t)K + (size_t)j] = (real)(scale * (p - (j == labels[i])));
		}
	}
	return total;
}

static double norm(const real *x, size_t n)
{
	double sum = 0;

#pragma omp simd reduction(+ : sum)
	for (size_t i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	return sqrt(sum);
}

double loss_amp(struct params *params, double amp)
{
	double total = 0;

	for (int t = 0; t < params->n; t++) {
		const struct param *param = &params->param[t];
		const real *w = params->w + param->at;
		real *g = params->g + param->at;
		double length, by;

		if (param->group != PARAM_PEFT)
			continue;
		length = norm(w, param_size(param));
		total -= length;
		if (length == 0 || amp == 0)
			continue;
		by = amp / length;
		for (size_t i = 0; i < param_size(param); i++)
			g[i] -= (real)(by * (double)w[i]);
	}
	return total;
}

double loss_attn(real *s, int rows, int n, double scale)
{
	double total = 0;

	for (int r = 0; r < rows; r++) {
		real *row = s + (size_t)r * (size_t)n;
		double length = norm(row, (size_t)n);
		double by = length > 0 ? scale / length : 0;

		total += length;
		for (int j = 0; j < n; j++)
			row[j] = (real)((double)row[j] * by);
	}
	return total;
}
