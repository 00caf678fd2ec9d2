/*
 * run: one job from its parsed spec to its artifacts: load, attach PEFT, train, evaluate, export, report.
 *
 * Lines on stdout (common/progress.h) tell how far it is; main writes the last one, `done` or `error`.
 * The descriptors are borrowed. Files appear below out_fd only.
 *
 * Fails with ERR_STOPPED once *stop is set and a checkpoint is written; the same call later goes on from
 * it. Any other error is final, and names file and place.
 */
#ifndef OBLIVIATE_RUN_H
#define OBLIVIATE_RUN_H

#include <signal.h>

#include "common/spec.h"

struct run {
	const struct spec *spec;
	int model_fd, data_fd, out_fd; /* directories */
	int threads;		       /* >= 1; changes the speed and nothing else */
	bool check_only;	       /* read and check everything, train nothing, write nothing */
	const char *sandbox;	       /* what held, for the report's versions */
	const volatile sig_atomic_t *stop;
};

int run_job(struct run *run, struct err *err) MUST_USE;

#endif
