/*
 * flipped: the search for flips as a job's phase after training (evaluation.scan): in the first seed's undefended model,
 * where it is compared, and in its defended one. What is found in either joins the triggers that both are assessed with.
 */
#ifndef OBLIVIATE_FLIPPED_H
#define OBLIVIATE_FLIPPED_H

#include "worker/job.h"

/* Without evaluation.scan nothing. The runs must be finished; afterwards one of them is loaded. */
int flipped_search(struct job *job, struct err *err) MUST_USE;

#endif
