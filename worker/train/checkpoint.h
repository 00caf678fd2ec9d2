/*
 * checkpoint: a job between two steps, as one file in the output directory.
 *
 * A job trains once or twice (defended; then its undefended control). The file is safetensors with
 *
 *   w, m, v      [n] weights and moments of the run that is under way
 *   best         [n] its best weights so far, where the best epoch is what counts
 *   final.N      [n] selected weights of each finished run N
 *   csv          bytes of metrics.csv so far
 *
 * and metadata {"format", "state"}: state is JSON {spec, run, runs: [{step, tokens, seconds, ...}]}. Written
 * through a temporary file, so it is whole or absent. A checkpoint of another spec or shape, or one that the
 * disk has broken, is left aside: the job starts anew rather than fail at every attempt.
 */
#ifndef OBLIVIATE_CHECKPOINT_H
#define OBLIVIATE_CHECKPOINT_H

#include "worker/train/fit.h"

enum { CHECKPOINT_RUNS_MAX = 2 };

struct checkpoint {
	const char *spec_sha256;
	int run;				     /* the run under way; runs before it are finished */
	struct fit_state state[CHECKPOINT_RUNS_MAX]; /* fit_state_init'ed by the caller */
	int n_epochs;				     /* room in each state */
	real *final[CHECKPOINT_RUNS_MAX];	     /* [params.size], owned by the caller */
	struct buf csv;				     /* metrics.csv so far */
};

int checkpoint_write(const struct checkpoint *checkpoint, const struct params *params, int dirfd,
	struct err *err) MUST_USE;

/*
 * *found says whether there was a whole one of this spec; then checkpoint and params are as they were. Else
 * *checkpoint is unchanged, params hold nothing of use, and a broken file is a warning in the log. Fails
 * where the file cannot be read at all.
 */
int checkpoint_read(struct checkpoint *checkpoint, bool *found, struct params *params, int dirfd,
	struct err *err) MUST_USE;

#endif
