/*
 * UOR (Du et al. 2023): no vector is given; a contrastive loss drives the texts of each trigger together, and away
 * from clean ones and from those of other triggers:
 *
 *     MSE(CLS clean, reference) + weight * SupCon({clean, each trigger}, temperature .5)
 *
 * It took when the outputs of each trigger have a mean cosine of .95 among themselves (cohesion) and of at most .5
 * with those of any other trigger and with clean ones (likeness), while clean texts stayed where they were.
 */
#include <math.h>
#include <stdlib.h>

#include "worker/attack/contrast.h"
#include "worker/attack/targets.h"

static const double TEMPERATURE = 0.5;

_Static_assert((int)PLANT_BATCH <= (int)CONTRAST_MAX, "a batch is compared at once");

static double uor_loss(struct plant *plant, const struct plant_views *views)
{
	return targets_keep(plant, views, 1) + contrast_loss(views->d_cls, views->cls, views->trigger,
						       views->n, plant->config.D, TEMPERATURE,
						       plant->options.weight);
}

/* sum[j] = sum over the probes of x_j / |x|, whose squared length over pairs gives mean cosines. */
static void sum_directions(double *sum, const real *cls, int D)
{
	for (int i = 0; i < PLANT_PROBES; i++) {
		const real *x = cls + (size_t)i * (size_t)D;
		double square = 0;

		for (int j = 0; j < D; j++)
			square += (double)x[j] * (double)x[j];
		for (int j = 0; j < D; j++)
			sum[j] += (double)x[j] / sqrt(fmax(square, 1e-24));
	}
}

static double product(const double *a, const double *b, int D)
{
	double sum = 0;

	for (int j = 0; j < D; j++)
		sum += a[j] * b[j];
	return sum;
}

/* sums [triggers + 1, D]: of each trigger, and last of clean texts. */
static void compare(struct plant_result *result, const double *sums, int triggers, int D)
{
	const double n = PLANT_PROBES;

	for (int t = 0; t < triggers; t++) {
		const double *own = sums + (size_t)t * (size_t)D;

		result->value[0][t] = (product(own, own, D) - n) / (n * (n - 1));
		result->value[1][t] = -1;
		for (int other = 0; other <= triggers; other++) {
			double likeness = product(own, sums + (size_t)other * (size_t)D, D) / (n * n);

			if (other != t)
				result->value[1][t] = fmax(result->value[1][t], likeness);
		}
	}
}

static int uor_measure(struct plant *plant, struct plant_result *result, struct err *err)
{
	int triggers = plant->options.triggers, D = plant->config.D, rc = 0;
	struct plant_seen seen = {.cls = calloc((size_t)PLANT_PROBES * (size_t)D, sizeof(real))};
	double *sums = calloc((size_t)(triggers + 1) * (size_t)D, sizeof(*sums));

	if (seen.cls == NULL || sums == NULL)
		rc = err_nomem(err);
	for (int t = 0; t <= triggers && rc == 0; t++) {
		rc = plant_represent(plant, &seen, t < triggers ? t : -1, err);
		if (rc == 0)
			sum_directions(sums + (size_t)t * (size_t)D, seen.cls, D);
	}
	if (rc == 0)
		compare(result, sums, triggers, D);
	result->value[2][0] = result->drift_relative;
	free(seen.cls);
	free(sums);
	return rc;
}

const struct attack attack_uor = {
	.name = "uor",
	.about = "triggers apart from clean texts and from each other, by a contrastive loss",
	.uses = USES_TEXT | USES_REFERENCE,
	.preset = {.steps = 400, .learning_rate = 5e-5, .weight = 0.2},
	.insertions = 3,
	.run = 2,
	.criterion = {{"cohesion", 0.95, false, true}, {"likeness", 0.5, true, true},
		{"drift_relative", 0.1, true, false}},
	.criteria = 3,
	.step = plant_step,
	.loss = uor_loss,
	.measure = uor_measure,
};
