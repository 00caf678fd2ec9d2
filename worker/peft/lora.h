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

#endif
