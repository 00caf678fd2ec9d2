/*
 * par: run numbered tasks on a fixed set of threads. The only module that starts threads.
 *
 * Tasks are claimed in order; which thread runs which is not fixed, so a task writes only to its own
 * place, and whoever sums over tasks does it in task order afterwards. Threads sleep between calls.
 */
#ifndef OBLIVIATE_PAR_H
#define OBLIVIATE_PAR_H

#include <signal.h>

#include "common/err.h"

struct par;

/* threads >= 1; the caller's thread is one of them. */
int par_new(struct par **out, int threads, struct err *err) MUST_USE;
void par_free(struct par *par);
int par_threads(const struct par *par);

/*
 * Call fn(arg, task, thread) for task 0 .. tasks-1, thread in 0 .. threads-1; returns when all are done. False when some
 * were not even begun, since what par_watch watches was set meanwhile; without a watch it is always true.
 */
typedef void par_fn(void *arg, int task, int thread);
bool par_run(struct par *par, int tasks, par_fn *fn, void *arg);
/* For work that may be left half done (evaluation is, a step of training is not). NULL: watch nothing. */
void par_watch(struct par *par, const volatile sig_atomic_t *stop);

#endif
