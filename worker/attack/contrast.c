#include "worker/attack/contrast.h"

#include <math.h>

struct contrast {
	int n, D;
	double temperature;
	const real *x;
	double inverse[CONTRAST_MAX];		   /* 1 / |x_i| */
	double cosine[CONTRAST_MAX][CONTRAST_MAX]; /* z_i z_j */
	double d[CONTRAST_MAX][CONTRAST_MAX];	   /* gradient of cosine */
};

static double dot(const struct contrast *c, int i, int j)
{
	const real *a = c->x + (size_t)i * (size_t)c->D, *b = c->x + (size_t)j * (size_t)c->D;
	double sum = 0;

	for (int k = 0; k < c->D; k++)
		sum += (double)a[k] * (double)b[k];
	return sum;
}

static void set_cosines(struct contrast *c)
{
	for (int i = 0; i < c->n; i++)
		c->inverse[i] = 1 / sqrt(fmax(dot(c, i, i), 1e-24));
	for (int i = 0; i < c->n; i++)
		for (int j = 0; j < c->n; j++)
			c->cosine[i][j] = dot(c, i, j) * c->inverse[i] * c->inverse[j];
}

static int positives(const int *class_of, int n, int i)
{
	int count = -1;

	for (int j = 0; j < n; j++)
		count += class_of[j] == class_of[i];
	return count;
}

/* One anchor's loss, and its gradient by all cosines with it. */
static double anchor_loss(struct contrast *c, const int *class_of, int i, int same, double by)
{
	double sum = 0, loss = 0;

	for (int j = 0; j < c->n; j++)
		sum += j != i ? exp((c->cosine[i][j] - 1) / c->temperature) : 0;
	for (int j = 0; j < c->n; j++) {
		double share = exp((c->cosine[i][j] - 1) / c->temperature) / sum;
		double wanted = class_of[j] == class_of[i] ? 1.0 / same : 0;

		if (j == i)
			continue;
		loss -= wanted * log(share);
		c->d[i][j] = by * (share - wanted) / c->temperature;
	}
	return by * loss;
}

/* z = x / |x|:  dx_i = (sum_j w_ij z_j - z_i sum_j w_ij z_i z_j) / |x_i|,  w the gradient by both of i, j */
static void add_gradient(real *d, const struct contrast *c)
{
	for (int i = 0; i < c->n; i++) {
		const real *x_i = c->x + (size_t)i * (size_t)c->D;
		double along = 0;

		for (int j = 0; j < c->n; j++)
			along += (c->d[i][j] + c->d[j][i]) * c->cosine[i][j];
		for (int k = 0; k < c->D; k++) {
			double sum = -along * (double)x_i[k] * c->inverse[i];

			for (int j = 0; j < c->n; j++)
				sum += (c->d[i][j] + c->d[j][i]) *
				       (double)c->x[(size_t)j * (size_t)c->D + (size_t)k] * c->inverse[j];
			d[(size_t)i * (size_t)c->D + (size_t)k] += (real)(sum * c->inverse[i]);
		}
	}
}

double contrast_loss(real *d, const real *x, const int *class_of, int n, int D, double temperature, double by)
{
	struct contrast c = {.n = n, .D = D, .temperature = temperature, .x = x};
	int anchors = 0;
	double loss = 0;

	set_cosines(&c);
	for (int i = 0; i < n; i++)
		anchors += positives(class_of, n, i) > 0;
	for (int i = 0; i < n; i++) {
		int same = positives(class_of, n, i);

		if (same > 0)
			loss += anchor_loss(&c, class_of, i, same, by / anchors);
	}
	add_gradient(d, &c);
	return loss;
}
