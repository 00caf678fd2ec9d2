/*
 * flipped: the search for flips in a job's trained models (evaluation.scan): in the first seed's undefended model, where it
 * is compared, and in its defended one. What is found in either joins the triggers that both are assessed with.
 *
 * Mode informed searches the undefended model as soon as it is trained, and trains the defended ones with what was found.
 */
#ifndef OBLIVIATE_FLIPPED_H
#define OBLIVIATE_FLIPPED_H

#include "worker/job.h"

/*
 * Mode informed, where there is an undefended run: its search, kept in the output directory (flips_record.h). *loaded:
 * its weights are loaded now, in place of those that were. After the undefended runs.
 */
int flipped_undefended(bool *loaded, struct job *job, struct err *err) MUST_USE;

/*
 * Without evaluation.scan nothing; what was searched before is not searched again. The runs must be finished; afterwards
 * one of them is loaded.
 */
int flipped_search(struct job *job, struct err *err) MUST_USE;

#endif
