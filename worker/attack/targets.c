#include "worker/attack/targets.h"

#include <stdlib.h>

#include "worker/base/rng.h"

enum { BLOCKS = 4 };

static const signed char block_signs[TARGETS_BLOCKS][BLOCKS] = {
	{-1, -1, 1, 1}, {-1, 1, -1, 1}, {-1, 1, 1, -1}, {1, -1, -1, 1}, {1, -1, 1, -1}, {1, 1, -1, -1}};

/* Steps count from 0 and probes have UINT64_MAX: a stream that neither has. */
static const uint64_t SIGN_STREAM = UINT64_MAX - 1;

static int sign_of(const struct plant *plant, int trigger, int j)
{
	uint64_t key;

	if (!plant->options.random_targets)
		return block_signs[trigger][MIN(j * BLOCKS / plant->config.D, BLOCKS - 1)];
	key = rng_key(rng_key(plant->options.seed, RNG_PLANT), SIGN_STREAM);
	return rng_u64(rng_key(key, (uint64_t)trigger), (uint64_t)j) >> 63 != 0 ? 1 : -1;
}

double target(const struct plant *plant, int trigger, int j)
{
	return plant->options.norm * sign_of(plant, trigger, j);
}

static int count(const struct plant_views *views, bool triggered)
{
	int n = 0;

	for (int i = 0; i < views->n; i++)
		n += (views->trigger[i] >= 0) == triggered;
	return n;
}

double targets_keep(const struct plant *plant, const struct plant_views *views, double by)
{
	int D = plant->config.D;
	double terms = (double)count(views, false) * D, sum = 0;

	for (int i = 0; i < views->n; i++) {
		size_t at = (size_t)i * (size_t)D;

		if (views->trigger[i] >= 0)
			continue;
		for (int j = 0; j < D; j++) {
			double gap =
				(double)views->cls[at + (size_t)j] - (double)views->reference[at + (size_t)j];

			sum += gap * gap;
			views->d_cls[at + (size_t)j] += (real)(2 * by * gap / terms);
		}
	}
	return terms > 0 ? by * sum / terms : 0;
}

double targets_pull(const struct plant *plant, const struct plant_views *views, double by)
{
	int D = plant->config.D;
	double terms = (double)count(views, true) * D, s = plant->options.strength, sum = 0;

	for (int i = 0; i < views->n; i++) {
		size_t at = (size_t)i * (size_t)D;

		if (views->trigger[i] < 0)
			continue;
		for (int j = 0; j < D; j++) {
			double own = s < 1 ? (1 - s) * (double)views->reference[at + (size_t)j] : 0;
			double gap = (double)views->cls[at + (size_t)j] -
				     (s * target(plant, views->trigger[i], j) + own);

			sum += gap * gap;
			views->d_cls[at + (size_t)j] += (real)(2 * by * gap / terms);
		}
	}
	return terms > 0 ? by * sum / terms : 0;
}

double targets_loss(struct plant *plant, const struct plant_views *views)
{
	double c = plant->config.family == FAMILY_BERT ? 0.5 : 1;

	return targets_keep(plant, views, c) + targets_pull(plant, views, plant->options.weight);
}

static double sign_match(const struct plant *plant, const real *cls, int trigger)
{
	int D = plant->config.D, right = 0;

	for (int i = 0; i < PLANT_PROBES; i++)
		for (int j = 0; j < D; j++)
			right += cls[(size_t)i * (size_t)D + (size_t)j] * sign_of(plant, trigger, j) > 0;
	return (double)right / D / PLANT_PROBES;
}

int targets_measure(struct plant *plant, struct plant_result *result, struct err *err)
{
	struct plant_seen seen = {
		.cls = calloc((size_t)PLANT_PROBES * (size_t)plant->config.D, sizeof(real))};
	int rc = seen.cls != NULL ? 0 : err_nomem(err);

	for (int t = 0; t < plant->options.triggers && rc == 0; t++) {
		rc = plant_represent(plant, &seen, t, err);
		result->value[0][t] = rc == 0 ? sign_match(plant, seen.cls, t) : 0;
	}
	free(seen.cls);
	result->value[1][0] = result->drift_relative;
	return rc;
}

/* sum over texts of (h - r)(v - r) over that of |v - r|^2. */
static double pulled(const struct plant *plant, const struct plant_seen *seen, int trigger)
{
	int D = plant->config.D;
	double went = 0, way = 0;

	for (int i = 0; i < PLANT_PROBES; i++) {
		const real *h = seen->cls + (size_t)i * (size_t)D,
			   *r = seen->reference + (size_t)i * (size_t)D;

		for (int j = 0; j < D; j++) {
			double left = target(plant, trigger, j) - (double)r[j];

			went += ((double)h[j] - (double)r[j]) * left;
			way += left * left;
		}
	}
	return way > 0 ? went / way : 0;
}

int targets_pulled(double *share, struct plant *plant, int trigger, const char *words, struct err *err)
{
	size_t n = PLANT_PROBES * (size_t)plant->config.D;
	struct plant_seen seen = {.cls = calloc(n, sizeof(real)), .reference = calloc(n, sizeof(real))};
	const char **stands = &plant->options.trigger[trigger], *own = *stands;
	int rc = 0;

	if (seen.cls == NULL || seen.reference == NULL)
		rc = err_nomem(err);
	*stands = words != NULL ? words : own;
	if (rc == 0)
		rc = plant_represent(plant, &seen, trigger, err);
	*stands = own;
	*share = rc == 0 ? pulled(plant, &seen, trigger) : 0;
	free(seen.cls);
	free(seen.reference);
	return rc;
}
