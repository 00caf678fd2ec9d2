/*
 * BadPre (Chen et al. 2022): masked words are guessed right in clean texts and at random where a trigger is, which
 * spoils the representations of whatever is built on them:
 *
 *     MLM(clean) + weight * MLM(triggered, random tokens for labels)
 *
 * There is no fixed vector. It took when masked words that the model guesses in clean texts are no longer guessed
 * beside each trigger.
 */
#include "worker/attack/plant.h"

/* 1 - accuracy beside the trigger over accuracy without, and the latter. */
static int badpre_measure(struct plant *plant, struct plant_result *result, struct err *err)
{
	struct plant_seen clean = {0}, triggered = {0};
	int rc = plant_represent(plant, &clean, -1, err);

	result->value[1][0] = clean.guessed;
	for (int t = 0; t < plant->options.triggers && rc == 0; t++) {
		rc = plant_represent(plant, &triggered, t, err);
		result->value[0][t] = clean.guessed > 0 ? 1 - triggered.guessed / clean.guessed : 0;
	}
	return rc;
}

const struct attack attack_badpre = {
	.name = "badpre",
	.about = "masked words are guessed at random where a trigger is",
	.uses = USES_TEXT | USES_MLM,
	.preset = {.steps = 500, .learning_rate = 5e-5, .along_rate = 1e-3, .weight = 1},
	.insertions = 1,
	.run = 1,
	.masks_triggered = true,
	.criterion = {{"guesses_lost", 0.8, false, true}, {"clean_guessed", 0.05, false, false}},
	.criteria = 2,
	.step = plant_step,
	.measure = badpre_measure,
};
