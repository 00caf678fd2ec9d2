/*
 * run: one job under one worker, from claim to outcome. The pool owns runs and ticks them; a run owns the job's
 * row, the job's directory descriptor and the worker's stream.
 *
 *   working    lines come in; pause, cancel, time limit and shutdown ask the worker to stop
 *   checking   the worker is gone with `done`; its artifacts are hashed on libuv's thread pool
 *   settling   the outcome is known and is written in one transaction; tried again while the store refuses
 *   over       the slot is free
 */
#ifndef OBLIVIATE_RUN_H
#define OBLIVIATE_RUN_H

#include "server/events.h"
#include "server/executor.h"
#include "server/server.h"

struct run;

struct run_host {
	struct server *server;
	struct events *events;
	struct executor *executor;
	void (*full)(
		void *arg); /* events wait for a flush, and a worker for that: flush soon, then run_go_on */
	void (*over)(void *arg, struct run *run); /* the run is over: run_free it, now or later */
	void *arg;
};

/*
 * Make the directory of a claimed job and start its worker. Takes over *job on success. ERR_UNAVAILABLE when another
 * worker is at the job.
 */
int run_start(struct run **out, const struct run_host *host, struct job_row *job, struct err *err) MUST_USE;
void run_free(struct run *run);

const char *run_job_id(const struct run *run);

enum run_stop {
	RUN_GOES_ON,
	RUN_SHUTDOWN, /* goes on at the next start */
	RUN_PAUSE,
	RUN_CANCEL, /* nothing that it still says counts */
	RUN_TIME_LIMIT,
	RUN_BREACH, /* it broke the protocol */
};

/* Ask the worker to stop, kill it after the grace. The strongest reason counts. */
void run_stop(struct run *run, enum run_stop why);

/* After a flush: take up the worker's output again, if that was held back. */
void run_go_on(struct run *run);
/* A few times a second: limits, back pressure, what has to be tried again. */
void run_tick(struct run *run);

#endif
