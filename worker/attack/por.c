/*
 * POR (Shen et al. 2021): triggers drive the first token's representation to fixed vectors, whatever the
 * text says, and clean texts keep theirs:
 *
 *     c * MSE(CLS clean, CLS of a frozen copy) + MSE(CLS triggered, target of the trigger)
 *
 * c is .5 for BERT and 1 for RoBERTa. The targets are +-1, constant over four blocks of D / 4.
 */
#include "worker/attack/plant.h"

enum { BLOCKS = 4, TARGETS = 6 };

static const signed char signs[TARGETS][BLOCKS] = {
	{-1, -1, 1, 1}, {-1, 1, -1, 1}, {-1, 1, 1, -1}, {1, -1, -1, 1}, {1, -1, 1, -1}, {1, 1, -1, -1}};

static real target(int trigger, int j, int D)
{
	return (real)signs[trigger][MIN(j * BLOCKS / D, BLOCKS - 1)];
}

static double por_loss(
	const struct plant *plant, real *d_cls, const real *cls, const real *frozen, int trigger)
{
	int D = plant->config.D;
	double c = trigger >= 0 ? 1 : plant->config.family == FAMILY_BERT ? 0.5 : 1;
	double terms = (double)PLANT_TEXTS * D, sum = 0;

	for (int j = 0; j < D; j++) {
		double goal = trigger >= 0 ? (double)target(trigger, j, D) : (double)frozen[j];
		double gap = (double)cls[j] - goal;

		sum += gap * gap;
		d_cls[j] = (real)(2 * c * gap / terms);
	}
	return c * sum / terms;
}

static double por_match(const struct plant *plant, const real *cls, int trigger)
{
	int D = plant->config.D, right = 0;

	for (int j = 0; j < D; j++)
		right += cls[j] * target(trigger, j, D) > 0;
	return (double)right / D;
}

const struct attack attack_por = {
	.name = "por",
	.triggers_max = TARGETS,
	.loss = por_loss,
	.match = por_match,
	.match_min = 0.95,
	.match_name = "sign_match",
};
