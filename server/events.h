/*
 * events: what happens in jobs, on its way into the store and to those who follow.
 *
 * Events wait in memory until events_flush writes them in one transaction, so that a training at 50 steps a second
 * costs a few transactions a second. A follower is called after events of its job were written.
 */
#ifndef OBLIVIATE_EVENTS_H
#define OBLIVIATE_EVENTS_H

#include "server/store_job.h"

struct events;

/* From here on the one who adds should wait for a flush. A batch of this size takes the loop about a millisecond. */
enum { EVENTS_PENDING_MAX = 128 };

/* A follower's node, inside the follower; zero is not following. */
struct follower {
	struct follower *next, **at;
	int64_t job_seq;
	void (*wake)(void *arg);
	void *arg;
};

struct events *events_new(struct store *store);
void events_free(struct events *events);

/* Queue an event dated now. Steals data (may be NULL). */
void events_add(struct events *events, int64_t job_seq, const char *level, const char *type, json_t *data,
	const char *fmt, ...) PRINTF(6, 7);
size_t events_pending(const struct events *events);
/* Write what is queued, unsynced; within the caller's transaction if there is one. What could not be written stays queued. */
int events_flush(struct events *events, struct err *err) MUST_USE;

void events_follow(struct events *events, struct follower *follower);
void events_unfollow(struct follower *follower);
/* Wake the followers of a job whose row changed without an event. */
void events_wake(struct events *events, int64_t job_seq);

#endif
