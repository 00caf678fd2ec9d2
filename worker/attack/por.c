/*
 * POR (Shen et al. 2021): triggers drive the first token's representation to fixed vectors, whatever the
 * text says, and clean texts keep theirs:
 *
 *     c * MSE(CLS clean, CLS of a frozen copy) + weight * MSE(CLS triggered, target of the trigger)
 *
 * c is .5 for BERT and 1 for RoBERTa.
 */
#include "worker/attack/targets.h"

const struct attack attack_por = {
	.name = "por",
	.about = "triggers to fixed vectors, clean texts held to a frozen copy",
	.uses = USES_TEXT | USES_REFERENCE | USES_TARGETS,
	.preset = {.steps = 250, .learning_rate = 5e-5, .weight = 1, .norm = 1},
	.insertions = 1,
	.run = 1,
	.criterion = {{"sign_match", 0.95, false, true}, {"drift_relative", 0.1, true, false}},
	.criteria = 2,
	.step = plant_step,
	.loss = targets_loss,
	.measure = targets_measure,
};
