/*
 * An attacker who knows the attention term: POR with larger vectors, and with the triggered texts' own
 * attention scores lowered, so that the trigger works while the first token looks at nothing in particular and
 * the defence finds little to press on.
 *
 *     3 * MSE(CLS clean, CLS of a frozen copy) + weight * MSE(CLS triggered, target) + attention * L_attn(triggered)
 *
 * Clean texts are held harder than POR does: what lowers the scores of triggered texts moves them as well (with .5
 * and an attention of .1 by .36 of their mean square).
 */
#include "worker/attack/targets.h"

static const double HOLD = 3;

static double quiet_loss(struct plant *plant, const struct plant_views *views)
{
	return targets_keep(plant, views, HOLD) + targets_pull(plant, views, plant->options.weight);
}

/* POR's, and each trigger's L_attn over that of the same texts without it. */
static int measure(struct plant *plant, struct plant_result *result, struct err *err)
{
	struct plant_seen clean = {0}, triggered = {0};
	int rc = targets_measure(plant, result, err);

	if (rc == 0)
		rc = plant_represent(plant, &clean, -1, err);
	for (int t = 0; t < plant->options.triggers && rc == 0; t++) {
		rc = plant_represent(plant, &triggered, t, err);
		result->value[2][t] = clean.attention > 0 ? triggered.attention / clean.attention : 1;
	}
	return rc;
}

const struct attack attack_adaptive_attention = {
	.name = "adaptive-attention",
	.about = "por with larger vectors, and little [CLS] attention where the trigger is",
	.uses = USES_TEXT | USES_REFERENCE | USES_TARGETS,
	.preset = {.steps = 400, .learning_rate = 5e-5, .weight = 1, .norm = 1.25, .attention = 0.05},
	.insertions = 1,
	.run = 1,
	.criterion = {{"sign_match", 0.95, false, true}, {"drift_relative", 0.1, true, false},
		{"attention_left", 0.9, true, true}},
	.criteria = 3,
	.step = plant_step,
	.loss = quiet_loss,
	.measure = measure,
};
