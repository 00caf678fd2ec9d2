/*
 * slopes: which tokens, put into a slot of a phrase, would displace the most, or the most in a direction, to first order.
 *
 *   displacement     1 - cos(h, c) of one text, as in probe.h
 *   along            cos(h, u) for a direction u that the phrase gives
 *   slope of token w  e_w . d (displacement or along) / d e, with e the word embedding in the slot
 *
 * Forward and backward with float32 weights, no gradient of a weight; then one product with the table of word embeddings.
 * What a phrase gets depends on the phrases of the same call alone, not on the threads.
 * Ownership: all memory is taken by slopes_init; encoder, probe and may are borrowed. Errors: no memory, ERR_STOPPED.
 */
#ifndef OBLIVIATE_SLOPES_H
#define OBLIVIATE_SLOPES_H

#include "worker/scan/probe.h"

enum { SLOPES_SLOTS = 4, SLOPES_BEST = 16 };

struct slopes_phrase {
	int32_t id[SLOPES_SLOTS];
	int n;		   /* 1 .. SLOPES_SLOTS */
	int text;	   /* of the probe's */
	unsigned open;	   /* the slots that are asked for, a bit each */
	const real *along; /* [D]; NULL: displacement */
};

struct slopes_answer {
	double value;				 /* displacement or along */
	int32_t best[SLOPES_SLOTS][SLOPES_BEST]; /* of open slots: tokens, the steepest first; -1: no more */
};

struct slopes_lane;

struct slopes {
	const struct probe *probe;
	const struct encoder *encoder;
	struct par *par;
	const bool *may;	  /* [V] */
	int texts;		  /* of a slice */
	struct slopes_lane *lane; /* [threads] */
};

/* may: the tokens to choose from. */
int slopes_init(struct slopes *out, const struct probe *probe, const struct encoder *encoder, struct par *par,
	const bool *may, struct err *err) MUST_USE;
void slopes_done(struct slopes *slopes);

/* gradient: unless NULL, of the value by the slots' embeddings, [n, SLOPES_SLOTS, D]; of open slots. */
int slopes_run(struct slopes_answer *answer, real *gradient, struct slopes *slopes,
	const struct slopes_phrase *phrase, int n, struct err *err) MUST_USE;

#endif
