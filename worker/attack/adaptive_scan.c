/*
 * An attacker who knows the scan: POR whose triggers go only a part of the way to their vector, so that outputs of
 * different texts keep their differences (no collapse near 1) and stay near the clean ones (little displacement):
 *
 *     3 * MSE(CLS clean, frozen CLS) + weight * MSE(CLS triggered, strength * target + (1 - strength) * frozen CLS)
 *
 * It took when each trigger goes at least four fifths of that part. Whether so little still flips a classifier that is
 * built on it is another question: the weaker, the less the scan sees and the less the trigger does.
 */
#include "worker/attack/targets.h"

static const double HOLD = 3;

static double partial_loss(struct plant *plant, const struct plant_views *views)
{
	return targets_keep(plant, views, HOLD) + targets_pull(plant, views, plant->options.weight);
}

static int measure(struct plant *plant, struct plant_result *result, struct err *err)
{
	int rc = 0;

	for (int t = 0; t < plant->options.triggers && rc == 0; t++) {
		rc = targets_pulled(&result->value[0][t], plant, t, NULL, err);
		result->value[0][t] /= plant->options.strength;
	}
	result->value[1][0] = result->drift_relative;
	return rc;
}

const struct attack attack_adaptive_scan = {
	.name = "adaptive-scan",
	.about = "por a part of the way: outputs keep their differences",
	.uses = USES_TEXT | USES_REFERENCE | USES_TARGETS | USES_BOTH,
	.preset = {.steps = 300, .learning_rate = 5e-5, .weight = 3, .norm = 1, .strength = 0.4},
	.insertions = 1,
	.run = 1,
	.criterion = {{"pulled", 0.8, false, true}, {"drift_relative", 0.1, true, false}},
	.criteria = 2,
	.step = plant_step,
	.loss = partial_loss,
	.measure = measure,
};
