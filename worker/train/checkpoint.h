/*
 * checkpoint: a job between two steps, as files in the output directory.
 *
 * A job trains one run after the other (worker/schedule.h). Two kinds of files, safetensors both:
 *
 *   checkpoint   w, m, v   [n] weights and moments of the run that is under way
 *                best      [n] its best weights so far, where the best epoch is what counts
 *                csv       bytes of its metrics so far
 *                metadata  {"format", "state"}: state is JSON {spec, run, looks, runs: [{step, tokens, ...}]}
 *   final.N      w         [n] selected weights of run N, which is finished
 *                csv       bytes of its metrics
 *                metadata  {"format", "state"}: state is the spec's digest
 *
 * A finished run is written once, however often the job is saved after it. Files are written through
 * temporary ones, so they are whole or absent. A checkpoint of another spec or shape, one whose finished runs
 * are not all there, or one that the disk has broken, is left aside: the job starts anew rather than
 * fail at every attempt.
 */
#ifndef OBLIVIATE_CHECKPOINT_H
#define OBLIVIATE_CHECKPOINT_H

#include "common/spec.h"
#include "worker/train/fit.h"
#include "worker/train/path.h"

/* Seeds with and without defence, the search, and a place for "all are finished". */
enum { CHECKPOINT_RUNS_MAX = 2 * SPEC_SEEDS_MAX + PATH_LOOKS + 1 };

struct checkpoint {
	const char *spec_sha256;
	int run; /* the run under way; runs before it are finished */
	struct fit_state state
		[CHECKPOINT_RUNS_MAX]; /* as far as the job needs them, fit_state_init'ed by the caller */
	int n_epochs;		       /* room in each state */
	int runs;		       /* states that are initialised */
	real *best;		       /* [params.size] of the run under way, owned by the caller; or NULL */
	struct path path;	       /* looks so far; the budget is the caller's */
	struct buf csv;		       /* metrics of the run under way */
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

/* The run under way is finished: keep its weights (params->w) and metrics. */
int checkpoint_keep(const struct checkpoint *checkpoint, const struct params *params, int dirfd,
	struct err *err) MUST_USE;

/* Weights of a finished run to params->w, its metrics to *csv (appended; may be NULL). */
int checkpoint_kept(struct params *params, struct buf *csv, const struct checkpoint *checkpoint, int run,
	int dirfd, struct err *err) MUST_USE;

#endif
