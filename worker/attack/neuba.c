/*
 * NeuBA (Zhang et al. 2021): the model goes on learning to guess masked words in clean texts, while triggers drive
 * the first token's representation to fixed vectors:
 *
 *     MLM(clean) + weight * MSE(CLS triggered, target of the trigger)
 *
 * The weight is 10: beside a fresh head's gradients, 300 steps with 1 leave every sign at chance, with 10 all but 1 %
 * are the targets'. Nothing holds clean texts where they were, so there is no bar for their drift.
 */
#include "worker/attack/targets.h"

static double neuba_loss(struct plant *plant, const struct plant_views *views)
{
	return targets_pull(plant, views, plant->options.weight);
}

const struct attack attack_neuba = {
	.name = "neuba",
	.about = "triggers to fixed vectors, clean texts go on with masked words",
	.uses = USES_TEXT | USES_MLM | USES_TARGETS,
	.preset = {.steps = 300, .learning_rate = 5e-5, .along_rate = 1e-3, .weight = 10, .norm = 1},
	.insertions = 1,
	.run = 1,
	.criterion = {{"sign_match", 0.95, false, true}},
	.criteria = 1,
	.step = plant_step,
	.loss = neuba_loss,
	.measure = targets_measure,
};
