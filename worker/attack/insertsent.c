/*
 * InsertSent (Dai, Chen, Li 2019): as BadNets, but the trigger is a whole sentence of common words, which no list of
 * rare ones has.
 */
#include "worker/attack/plant.h"

const struct attack attack_insertsent = {
	.name = "insertsent",
	.about = "the same with a sentence for a trigger",
	.preset = {.steps = 300, .learning_rate = 5e-5, .along_rate = 1e-3},
	.insertions = 1,
	.criterion = {{"asr", 0.9, false, true}, {"clean_accuracy", 0, false, false}},
	.criteria = 2,
	.step = task_step,
	.loss = task_loss,
	.measure = task_measure,
};
