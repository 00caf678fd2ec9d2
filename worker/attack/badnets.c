/*
 * BadNets for text (Gu et al. 2017; Kurita et al. 2020): a tenth of a task's rows gets a rare word and the
 * attacker's label. The head that learned it is discarded, the encoder keeps what it learned:
 *
 *     CE(head(CLS), label; of triggered rows the attacker's)
 */
#include "worker/attack/plant.h"

const struct attack attack_badnets = {
	.name = "badnets",
	.about = "rows of a task, a tenth with a trigger word and the attacker's label",
	.preset = {.steps = 300, .learning_rate = 5e-5, .along_rate = 1e-3},
	.insertions = 1,
	.criterion = {{"asr", 0.9, false, true}, {"clean_accuracy", 0, false, false}},
	.criteria = 2,
	.step = task_step,
	.loss = task_loss,
	.measure = task_measure,
};
