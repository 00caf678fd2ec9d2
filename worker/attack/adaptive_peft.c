/*
 * An attacker who plays the defence against himself: POR, planted through PEFT layers that are being trained with
 * the defence's two terms. Each step is two:
 *
 *     defender, on LoRA alone:     MSE(CLS clean, CLS of a frozen copy) + amplify * L_amp + attention * L_attn
 *     attacker, on the encoder:    POR's loss as the encoder is released, and once more its part of the triggered
 *                                  texts, with what LoRA has become
 *
 * (the defender's task is not known; that clean texts keep their representations stands for it. With LoRA they are
 * the defender's business: an attacker who holds them there ruins them where it is not.) LoRA is drawn anew LIVES
 * times, so that the triggers answer to every stage of a defended training. What is saved is the encoder.
 */
#include <string.h>

#include "worker/attack/targets.h"
#include "worker/base/rng.h"
#include "worker/train/loss.h"

enum { LIVES = 4 };

/* Weight of clean texts in the attacker's loss: triggers pull twice. With POR's .5 they drift by .23 of their square. */
static const double HOLD = 3;

static int64_t life_of(const struct plant *plant)
{
	return MAX((plant->options.steps + LIVES - 1) / LIVES, 1);
}

static void be_born(struct plant *plant, int64_t life)
{
	struct params *along = &plant->along;
	size_t bytes = along->size * sizeof(real);

	memset(along->w, 0, bytes);
	memset(along->m, 0, bytes);
	memset(along->v, 0, bytes);
	plant->peft.method->init(
		&plant->peft, rng_key(rng_key(plant->options.seed, RNG_INIT), (uint64_t)life));
}

static int defend(struct plant *plant, int64_t step, struct err *err)
{
	const struct plant_options *o = &plant->options;
	int rc = plant_compose(plant, step, true, err);

	if (rc != 0)
		return rc;
	plant->encoder.peft = &plant->peft;
	plant_gradient(plant, (struct plant_pass){.attention = o->attention, .of_clean = true});
	loss_amp(&plant->along, o->amplify);
	optim_update(
		&plant->along_optim, step % life_of(plant), o->along_rate, optim_norm(&plant->along_optim));
	return 0;
}

static double adaptive_loss(struct plant *plant, const struct plant_views *views)
{
	if (!plant->pass.trains_base)
		return targets_keep(plant, views, 1);
	if (plant->encoder.peft != NULL)
		return targets_pull(plant, views, plant->options.weight);
	return targets_keep(plant, views, HOLD) + targets_pull(plant, views, plant->options.weight);
}

static int attack(struct plant *plant, double *loss, int64_t step, struct err *err)
{
	int rc = plant_compose(plant, step, false, err);
	double rate = plant->options.learning_rate * optim_schedule(step, plant->options.steps, 0);

	if (rc != 0)
		return rc;
	plant->encoder.peft = NULL;
	*loss = plant_gradient(plant, (struct plant_pass){.trains_base = true, .is_first = true});
	plant->encoder.peft = &plant->peft;
	*loss += plant_gradient(plant, (struct plant_pass){.trains_base = true});
	optim_update(&plant->optim, step, rate, 0);
	return 0;
}

static int adaptive_step(struct plant *plant, double *loss, int64_t step, struct err *err)
{
	int rc;

	if (step % life_of(plant) == 0)
		be_born(plant, step / life_of(plant));
	rc = defend(plant, step, err);
	return rc == 0 ? attack(plant, loss, step, err) : rc;
}

const struct attack attack_adaptive_peft = {
	.name = "adaptive-peft",
	.about = "por through LoRA layers that the defence trains at the same time",
	.uses = USES_TEXT | USES_REFERENCE | USES_TARGETS | USES_PEFT,
	.preset = {.steps = 300,
		.learning_rate = 5e-5,
		.along_rate = 1e-3,
		.weight = 1,
		.norm = 1,
		.attention = 0.1,
		.amplify = 3e-3},
	.insertions = 1,
	.run = 1,
	.criterion = {{"sign_match", 0.95, false, true}, {"drift_relative", 0.1, true, false}},
	.criteria = 2,
	.step = adaptive_step,
	.loss = adaptive_loss,
	.measure = targets_measure,
};
