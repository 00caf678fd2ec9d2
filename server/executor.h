/*
 * executor: what starts, watches and stops workers, and finds them again after the daemon was restarted. The
 * pool knows these four calls and nothing of processes, so that a cluster's scheduler can stand in for `local`.
 *
 * The contract that every executor keeps: at most one worker per job directory. `submit` refuses with
 * ERR_UNAVAILABLE while one is there, whoever started it.
 */
#ifndef OBLIVIATE_EXECUTOR_H
#define OBLIVIATE_EXECUTOR_H

#include <uv.h>

#include "common/err.h"

struct executor;
struct worker; /* one worker, the executor's */

/* What a job's directory must hold before submit: spec.json, data/, out/. */
struct executor_job {
	const char *id;
	int dirfd;   /* the job's directory */
	int modelfd; /* the model's directory */
};

struct worker_exit {
	int status; /* exit code; 0 where a signal ended it */
	int signal; /* 0: exited by itself */
};

/* How the pool hears of a worker. Called on the loop; `ended` last, once, after the last `output`. */
struct worker_events {
	void (*output)(void *arg, const char *data, size_t len); /* bytes of descriptor 1 */
	void (*ended)(void *arg, const struct worker_exit *how);
	void *arg;
};

struct executor_ops {
	const char *name;
	/* Start a worker. Descriptors are borrowed. */
	int (*submit)(struct worker **out, struct executor *executor, const struct executor_job *job,
		const struct worker_events *events, struct err *err);
	/* To be called a few times a second while workers are there: deadlines, and news that no callback brings. */
	void (*poll)(struct executor *executor);
	/* Ask the worker to stop at its next step; make it stop after grace_ms. May be called again. */
	void (*cancel)(struct worker *worker, int64_t grace_ms);
	/* Is a worker of an earlier daemon still on this job's directory? */
	int (*reconcile)(
		bool *is_there, struct executor *executor, const struct executor_job *job, struct err *err);
	/* Hold back, or take up again, the worker's output. */
	void (*hold)(struct worker *worker, bool is_held);
	void (*free)(struct executor *executor);
};

struct executor {
	const struct executor_ops *ops;
};

struct executor_options {
	uv_loop_t *loop;
	const char *program; /* path of obliviate-worker */
	int64_t threads;
	const char *sandbox;
};

/* Worker processes of this machine. */
int executor_local_new(
	struct executor **out, const struct executor_options *options, struct err *err) MUST_USE;

#endif
