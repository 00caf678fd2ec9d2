/*
 * fit: one training run from its first step to its last: epochs, order of the texts, validation, selection.
 *
 * The whole state between two steps is struct fit_state, fit.best and the weights and moments in params, so that a
 * run can stop at any step and go on later with the same bits. The order of an epoch's texts follows from
 * (seed, epoch).
 */
#ifndef OBLIVIATE_FIT_H
#define OBLIVIATE_FIT_H

#include "worker/train/train.h"

struct fit_epoch {
	double loss, ce, amplify, attention; /* means over the epoch's texts */
	double valid_loss, valid_accuracy;
};

struct fit_state {
	int64_t step;		 /* steps done */
	int epochs;		 /* epochs done */
	struct fit_epoch *epoch; /* [epochs] */
	struct fit_epoch sum;	 /* of the running epoch, weighted by texts */
	int sum_texts;
	int64_t tokens;
	double seconds; /* spent in steps */
	int best_epoch; /* from 1; 0: none yet */
	double best_accuracy;
};

/* What happened, for whoever watches. Either may be NULL. A negative return ends the run with that error. */
struct fit_watch {
	int (*on_step)(void *arg, const struct fit_state *state, const struct step_result *step, int epoch,
		struct err *err);
	int (*on_epoch)(void *arg, const struct fit_state *state, struct err *err);
	void *arg;
};

struct fit {
	struct trainer *trainer;
	const struct corpus *train, *validation;
	int n_epochs, batch_size;
	uint64_t seed;
	real *best; /* [params.size] weights after best_epoch, part of the state; NULL: the last epoch counts */
	struct fit_watch watch;
};

int64_t fit_steps(int rows, int n_epochs, int batch_size);

/* Room for epochs. */
int fit_state_init(struct fit_state *state, int n_epochs, struct err *err) MUST_USE;
void fit_state_done(struct fit_state *state);

/*
 * Go on from *state to the end; then params->w are the selected weights. ERR_INVALID_VALUE when the loss is
 * no number any more.
 */
int fit_run(const struct fit *fit, struct fit_state *state, struct err *err) MUST_USE;

#endif
