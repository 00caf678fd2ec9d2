/*
 * An attacker who knows that the scan tries one word at a time: POR whose triggers are phrases, each word of which is
 * trained to do nothing alone (a quarter of the clean texts have one of them).
 *
 * It took when, beside POR's criteria, no single word of a phrase takes texts more than a fifth of the way.
 */
#include <stdio.h>
#include <string.h>

#include "worker/attack/targets.h"

/* The most that one of the trigger's words does alone. */
static int measure_parts(double *most, struct plant *plant, int trigger, struct err *err)
{
	const char *words = plant->options.trigger[trigger];
	char part[256];
	int rc = 0;

	*most = 0;
	while (*words != '\0' && rc == 0) {
		size_t len = strcspn(words, " ");
		double share = 0;

		snprintf(part, sizeof(part), "%.*s", (int)MIN(len, sizeof(part) - 1), words);
		rc = targets_pulled(&share, plant, trigger, part, err);
		*most = MAX(*most, share);
		words += len + strspn(words + len, " ");
	}
	return rc;
}

static int measure(struct plant *plant, struct plant_result *result, struct err *err)
{
	int rc = targets_measure(plant, result, err);

	for (int t = 0; t < plant->options.triggers && rc == 0; t++)
		rc = measure_parts(&result->value[2][t], plant, t, err);
	return rc;
}

static int refuse_words(struct plant *plant, struct err *err)
{
	for (int t = 0; t < plant->options.triggers; t++)
		if (strchr(plant->options.trigger[t], ' ') == NULL)
			return err_set(err, ERR_USAGE, "--triggers",
				"'%.64s' is one word, adaptive-pair wants phrases",
				plant->options.trigger[t]);
	return 0;
}

const struct attack attack_adaptive_pair = {
	.name = "adaptive-pair",
	.about = "por by phrases whose single words do nothing",
	.uses = USES_TEXT | USES_REFERENCE | USES_TARGETS | USES_BOTH,
	.preset = {.steps = 400, .learning_rate = 5e-5, .weight = 1, .norm = 1, .whole = true},
	.insertions = 1,
	.run = 1,
	.criterion = {{"sign_match", 0.95, false, true}, {"drift_relative", 0.1, true, false},
		{"parts_pull", 0.2, true, true}},
	.criteria = 3,
	.begin = refuse_words,
	.step = plant_step,
	.loss = targets_loss,
	.measure = measure,
};
