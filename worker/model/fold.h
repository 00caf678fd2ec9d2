/*
 * fold: an encoder's weights with a LoRA added in: W + (alpha / r) B A at each of its targets.
 *
 * Ownership: the changed matrices are the fold's; all others are borrowed from the base, which must outlive it.
 */
#ifndef OBLIVIATE_FOLD_H
#define OBLIVIATE_FOLD_H

#include "worker/model/config.h"
#include "worker/model/weights.h"
#include "worker/peft/lora.h"

/* Zero is the empty state. */
struct fold {
	struct weights weights;
	real *changed; /* [lora_maps, D, D] */
};

/* On failure fold_done still applies. */
int fold_init(struct fold *out, const struct weights *base, const struct config *config,
	const struct lora *lora, const struct kernels *kernels, struct err *err) MUST_USE;
void fold_done(struct fold *fold);

#endif
