/*
 * assess: predictions of a classifier on test rows, clean, with every trigger, and with neutral words.
 *
 * The texts are made and tokenised once and serve every model of a job, so that comparisons are paired.
 */
#ifndef OBLIVIATE_ASSESS_H
#define OBLIVIATE_ASSESS_H

#include "worker/eval/metrics.h"
#include "worker/eval/trigger.h"
#include "worker/train/predict.h"

struct assess_options {
	const char *const *trigger;
	int triggers;
	int insertions;
	bool control; /* as many neutral words */
	int max_length;
	uint64_t seed;
};

/* Zero is the empty state. */
struct assess {
	int rows, T, C;	      /* test rows, triggers, controls */
	struct corpus corpus; /* rows clean, then rows of each trigger, then of each control */
	int *truth;	      /* [rows] */
	bool *survived;	      /* [T + C, rows] */
	struct word_list controls;
	uint64_t seed;
};

int assess_init(struct assess *out, const struct tokenizer *tok, const struct dataset *data,
	const struct selection *rows, const struct assess_options *options, struct err *err) MUST_USE;
void assess_done(struct assess *assess);

/* label [(1 + T + C) rows], in the corpus's order; the metrics of it. */
int assess_predict(int *label, const struct assess *assess, const struct classifier *model, struct par *par,
	struct err *err) MUST_USE;
int assess_evaluate(struct evaluation *out, const struct assess *assess, const int *label, int K,
	struct err *err) MUST_USE;

#endif
