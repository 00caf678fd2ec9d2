/*
 * sweep: many texts through the encoder, forward only, on all threads.
 *
 * Texts are sorted by length and packed into slices that fill the caches; what a text gives does not depend
 * on its neighbours' order or on the threads.
 */
#ifndef OBLIVIATE_SWEEP_H
#define OBLIVIATE_SWEEP_H

#include "worker/base/par.h"
#include "worker/model/encoder.h"
#include "worker/train/corpus.h"

enum { SWEEP_SEQUENCES = 64 }; /* of one slice at most */

/*
 * Called once per slice, on thread `thread`: ws->cls [slice->n, D] is there; slice->seq[i].number is the text's
 * number in the corpus.
 * ERR_STOPPED where par_watch's flag was set.
 */
typedef void sweep_fn(void *arg, const struct workspace *ws, const struct slice *slice, int thread);

int sweep(const struct encoder *encoder, const struct corpus *corpus, struct par *par, sweep_fn *fn,
	void *arg, struct err *err) MUST_USE;

#endif
