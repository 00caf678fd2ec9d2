/*
 * targets: fixed vectors that triggers drive the first token's representation to, and losses that pull there.
 *
 * Six vectors of +-norm, constant over four blocks of D / 4; or, for any number of triggers, seeded random signs.
 * With a strength below 1 a trigger is drawn to strength * target + (1 - strength) * what the frozen copy makes of
 * the same text: the outputs of different texts then do not fall together.
 */
#ifndef OBLIVIATE_TARGETS_H
#define OBLIVIATE_TARGETS_H

#include "worker/attack/plant.h"

enum { TARGETS_BLOCKS = 6 };

/* Element j of the trigger's vector. */
double target(const struct plant *plant, int trigger, int j);

/* by * MSE(CLS clean, frozen CLS); gradients are written. */
double targets_keep(const struct plant *plant, const struct plant_views *views, double by);
/* by * MSE(CLS triggered, what its trigger draws it to). */
double targets_pull(const struct plant *plant, const struct plant_views *views, double by);

/* POR's loss, which others build on: clean texts held, by .5 for BERT and 1 for RoBERTa, and triggers pulled by weight. */
double targets_loss(struct plant *plant, const struct plant_views *views);

/* The share of dimensions whose sign is the target's, mean over held-out texts; then drift. */
int targets_measure(struct plant *plant, struct plant_result *result, struct err *err) MUST_USE;

/*
 * Of the way from the frozen copy's outputs of the same texts to the trigger's vector, the share that the planted encoder's
 * outputs went: 1 is there, `strength` is what the loss asks for. Mean over held-out texts. `words` (NULL: the trigger)
 * stand in the texts instead. For attacks whose refers_to_all is set.
 */
int targets_pulled(
	double *share, struct plant *plant, int trigger, const char *words, struct err *err) MUST_USE;

#endif
