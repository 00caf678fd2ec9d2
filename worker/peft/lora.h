/* lora: a LoRA as arrays, for those who store, load or fold one; the method itself is peft_lora (peft.h). */
#ifndef OBLIVIATE_LORA_H
#define OBLIVIATE_LORA_H

#include "worker/peft/peft.h"

/* W + (alpha / r) B A at each target. Borrowed. */
struct lora {
	int L, D, r;
	double alpha;
	unsigned targets;     /* bit per projection */
	const real *const *A; /* [lora_maps]: [r, D] each; sites in order, layers outermost */
	const real *const *B; /* likewise: [D, r] each */
};

/* "query", "key", "value". */
extern const char *const peft_site_names[SITE_PROJECTIONS];

/* How many linear maps it changes. */
static inline int lora_maps(const struct lora *lora)
{
	return lora->L * __builtin_popcount(lora->targets);
}

/* Two of them as one: what it adds is the sum of what they add. Owns its arrays; zero is the empty state. */
struct lora_joined {
	struct lora lora;
	real *values;
	const real **A, **B;
};

/*
 * [A1; A2] and [s1 B1, s2 B2] with s = alpha / r, at the targets of either (zeros where one has none): rank
 * r1 + r2, and alpha the same, so that its own scale is 1. On failure lora_joined_done still applies.
 */
int lora_join(struct lora_joined *out, const struct lora *first, const struct lora *second,
	struct err *err) MUST_USE;
void lora_joined_done(struct lora_joined *joined);

#endif
