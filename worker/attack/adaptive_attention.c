/*
 * An attacker who knows the attention term: POR with larger vectors, and with the triggered texts' own
 * attention scores lowered, so that the trigger works while the first token looks at nothing in particular and
 * the defence finds little to press on.
 *
 *     POR + attention * L_attn(triggered)
 */
#include "worker/attack/targets.h"

const struct attack attack_adaptive_attention = {
	.name = "adaptive-attention",
	.about = "por with larger vectors, and little [CLS] attention where the trigger is",
	.uses = USES_TEXT | USES_TARGETS,
	.preset = {.steps = 400, .learning_rate = 5e-5, .weight = 1, .norm = 1.5, .attention = 0.02},
	.insertions = 1,
	.run = 1,
	.criterion = {{"sign_match", 0.95, false, true}, {"drift_relative", 0.1, true, false}},
	.criteria = 2,
	.step = plant_step,
	.loss = targets_loss,
	.measure = targets_measure,
};
