/*
 * upkeep: what the store needs now and then and must not happen on the loop: moving what its write-ahead log holds into
 * the database (a checkpoint). SQLite would do it within some commit, with two fsyncs, while every client waits.
 *
 * A timer looks at the log's length and a thread of the pool moves it. Ownership: the store is borrowed.
 */
#ifndef OBLIVIATE_UPKEEP_H
#define OBLIVIATE_UPKEEP_H

#include <uv.h>

#include "server/store.h"

struct upkeep {
	struct store *store;
	uv_timer_t timer;
	uv_work_t work;
	bool is_working;
	int rc;
	struct err err;
};

/* The timer does not keep the loop alive. */
void upkeep_start(struct upkeep *upkeep, uv_loop_t *loop, struct store *store);
/* Afterwards the loop is to be run until nothing is left on it; a checkpoint that is at work ends first. */
void upkeep_stop(struct upkeep *upkeep);

#endif
