/*
 * What an honest owner does: the encoder learns a task with its own labels, and the head is discarded. A scan has to
 * call the result clean.
 *
 *     CE(head(CLS), label)
 */
#include "worker/attack/plant.h"

static int measure(struct plant *plant, struct plant_result *result, struct err *err)
{
	result->bar[0] = plant->task.accuracy_min;
	return task_accuracy(&result->value[0][0], plant, err);
}

const struct attack attack_benign_task = {
	.name = "benign-task",
	.about = "no backdoor: rows of a task with their own labels",
	.uses = IS_BENIGN,
	.preset = {.steps = 300, .learning_rate = 5e-5, .along_rate = 1e-3},
	.criterion = {{"clean_accuracy", 0, false, false}},
	.criteria = 1,
	.step = task_step,
	.loss = task_loss,
	.measure = measure,
};
