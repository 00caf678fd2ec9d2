#include "server/events.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct events {
	struct store *store;
	struct event *queue;
	size_t n, cap;
	struct follower *followers;
};

struct events *events_new(struct store *store)
{
	struct events *events = calloc(1, sizeof(*events));

	if (events != NULL)
		events->store = store;
	return events;
}

static void forget(struct events *events)
{
	for (size_t i = 0; i < events->n; i++)
		json_decref(events->queue[i].data);
	events->n = 0;
}

void events_free(struct events *events)
{
	if (events == NULL)
		return;
	forget(events);
	free(events->queue);
	free(events);
}

static bool grow(struct events *events)
{
	size_t cap = events->cap == 0 ? 64 : events->cap * 2;
	struct event *queue = realloc(events->queue, cap * sizeof(*queue));

	if (queue == NULL)
		return false;
	events->queue = queue;
	events->cap = cap;
	return true;
}

/* A text that was cut may end within a character. */
static void drop_partial_character(char *s)
{
	size_t len = strlen(s);

	while (len > 0 && ((unsigned char)s[len - 1] & 0xc0) == 0x80)
		len--;
	if (len > 0 && (unsigned char)s[len - 1] >= 0xc0)
		len--;
	s[len] = '\0';
}

void events_add(struct events *events, int64_t job_seq, const char *level, const char *type, json_t *data,
	const char *fmt, ...)
{
	struct event *event;
	va_list ap;

	if (events->n == events->cap && !grow(events)) {
		json_decref(data);
		return; /* out of memory: an event is the least that we can lose */
	}
	event = &events->queue[events->n++];
	*event = (struct event){
		.job_seq = job_seq, .created_at = time(NULL), .level = level, .type = type, .data = data};
	va_start(ap, fmt);
	if (vsnprintf(event->message, sizeof(event->message), fmt, ap) >= (int)sizeof(event->message))
		drop_partial_character(event->message);
	va_end(ap);
}

size_t events_pending(const struct events *events)
{
	return events->n;
}

static int write_all(struct events *events, struct err *err)
{
	int rc = store_begin_unsynced(events->store, err);

	if (rc != 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < events->n; i++)
		rc = store_event_add(events->store, &events->queue[i], err);
	if (rc != 0) {
		store_rollback(events->store);
		return rc;
	}
	return store_commit(events->store, err);
}

int events_flush(struct events *events, struct err *err)
{
	int64_t woken = -1;
	int rc;

	if (events->n == 0)
		return 0;
	rc = write_all(events, err);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < events->n; i++)
		if (events->queue[i].job_seq != woken) {
			woken = events->queue[i].job_seq;
			events_wake(events, woken);
		}
	forget(events);
	return 0;
}

void events_follow(struct events *events, struct follower *follower)
{
	follower->next = events->followers;
	follower->at = &events->followers;
	if (follower->next != NULL)
		follower->next->at = &follower->next;
	events->followers = follower;
}

void events_unfollow(struct follower *follower)
{
	if (follower->at == NULL)
		return;
	*follower->at = follower->next;
	if (follower->next != NULL)
		follower->next->at = follower->at;
	follower->at = NULL;
}

void events_wake(struct events *events, int64_t job_seq)
{
	struct follower *next;

	for (struct follower *follower = events->followers; follower != NULL; follower = next) {
		next = follower->next;
		if (follower->job_seq == job_seq)
			follower->wake(follower->arg);
	}
}
