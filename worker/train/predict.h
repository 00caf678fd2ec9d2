/*
 * predict: a classifier over many texts (sweep.h), forward only, on all threads.
 */
#ifndef OBLIVIATE_PREDICT_H
#define OBLIVIATE_PREDICT_H

#include "worker/train/train.h"

/* ERR_STOPPED where par_watch's flag was set. label[i] and, unless NULL, ce[i] (cross entropy against the corpus's label) and logits [n, K]. */
int predict(int *label, double *ce, real *logits, const struct classifier *model, const struct corpus *corpus,
	struct par *par, struct err *err) MUST_USE;

/* Mean cross entropy and accuracy over the corpus. */
struct score {
	double loss, accuracy;
};
int predict_score(struct score *score, const struct classifier *model, const struct corpus *corpus,
	struct par *par, struct err *err) MUST_USE;

#endif
