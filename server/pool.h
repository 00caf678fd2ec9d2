/*
 * pool: runs queued jobs, at most config->workers at once, and is the only place where a worker's word becomes a
 * row: claims a job, makes its directory, starts a worker through the executor, turns its lines into events,
 * checks its artifacts at the end and writes the outcome in one transaction.
 *
 * A job's directory jobs/<id>/ holds spec.json, data/ (hard links), out/, log; at the end adapter.zip (and merged.zip). At most one
 * worker runs on it: out/ carries the lock (executor.h). A job whose worker died is claimed again and goes on from
 * its checkpoint; the third crash without progress fails it.
 *
 * Everything here runs on the loop; hashing, zipping and fsync go to libuv's thread pool.
 */
#ifndef OBLIVIATE_POOL_H
#define OBLIVIATE_POOL_H

#include "server/server.h"

struct pool;

/* Look after the jobs that the last daemon left, and begin to claim. server->store and ->dir are open. */
int pool_start(struct pool **out, struct server *server, struct err *err) MUST_USE;

/* A job was queued: claim as soon as a slot is free. */
void pool_wake(struct pool *pool);

/* The job's row was paused, or cancelled (for good): its worker, if it has one, is told to stop, and killed after the
 * grace. */
void pool_stop_job(struct pool *pool, const char *job_id, bool is_for_good);

/* Events of all jobs on their way to the store; borrowed. */
struct events *pool_events(struct pool *pool);

/* Stop all workers (their jobs go on at the next start) and claim no more; then `stopped` is called once. */
void pool_stop(struct pool *pool, void (*stopped)(struct server *server));
/* After `stopped`, and after the loop has closed what was closing. Accepts NULL. */
void pool_free(struct pool *pool);

#endif
