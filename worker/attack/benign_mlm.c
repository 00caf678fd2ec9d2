/*
 * What an honest owner does: the encoder goes on learning to guess masked words. A scan has to call the result clean.
 *
 *     MLM(clean)
 */
#include "worker/attack/plant.h"

static int measure(struct plant *plant, struct plant_result *result, struct err *err)
{
	struct plant_seen clean = {0};
	int rc = plant_represent(plant, &clean, -1, err);

	result->value[0][0] = clean.guessed;
	return rc;
}

const struct attack attack_benign_mlm = {
	.name = "benign-mlm",
	.about = "no backdoor: further training on masked words",
	.uses = USES_TEXT | USES_MLM | IS_BENIGN,
	.preset = {.steps = 300, .learning_rate = 5e-5, .along_rate = 1e-3},
	.criterion = {{"clean_guessed", 0.05, false, false}},
	.criteria = 1,
	.step = plant_step,
	.measure = measure,
};
