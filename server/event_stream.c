#include "server/event_stream.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "server/events.h"
#include "server/pool.h"

enum { EVENTS_A_TIME = 32 };

struct stream {
	struct server *server;
	struct request *req;
	struct follower follower;
	int64_t last; /* number of the last event that was formatted */
	struct buf pending;
	size_t used;
	bool has_slept; /* the last pull had nothing to give */
};

static void stream_free(void *object)
{
	struct stream *stream = object;

	events_unfollow(&stream->follower);
	buf_done(&stream->pending);
	free(stream);
}

static void wake(void *arg)
{
	struct stream *stream = arg;

	request_wake(stream->req);
}

/* Format the next events. */
static int fill(struct stream *stream, struct err *err)
{
	buf_reset(&stream->pending);
	stream->used = 0;
	return store_event_follow(&stream->pending, &stream->last, stream->server->store,
		stream->follower.job_seq, EVENTS_A_TIME, err);
}

static bool is_finished(const struct stream *stream)
{
	struct err err;
	bool is_over;

	return store_job_is_over(&is_over, stream->server->store, stream->follower.job_seq, &err) != 0 ||
	       is_over;
}

static ssize_t give(struct stream *stream, char *out, size_t max)
{
	size_t n = MIN(max, stream->pending.len - stream->used);

	memcpy(out, stream->pending.data + stream->used, n);
	stream->used += n;
	stream->has_slept = false;
	return (ssize_t)n;
}

static ssize_t nothing_to_say(struct stream *stream, char *out, size_t max)
{
	if (!stream->has_slept) {
		stream->has_slept = true;
		return 0;
	}
	buf_reset(&stream->pending);
	stream->used = 0;
	buf_str(&stream->pending, ": ping\n\n");
	return stream->pending.failed ? PULL_END : give(stream, out, max);
}

static ssize_t pull(void *arg, char *out, size_t max)
{
	struct stream *stream = arg;
	struct err err;
	bool is_over;

	if (stream->used < stream->pending.len)
		return give(stream, out, max);
	/* Asked first: an event and the state that ends the stream are written in one transaction. */
	is_over = is_finished(stream);
	if (fill(stream, &err) != 0) {
		log_err(LOG_ERROR, "event_stream", &err);
		return PULL_END;
	}
	if (stream->pending.len > 0)
		return give(stream, out, max);
	return is_over ? PULL_END : nothing_to_say(stream, out, max);
}

static int parse_last(int64_t *out, const char *text, struct err *err)
{
	char *end;

	*out = 0;
	if (text == NULL || text[0] == '\0')
		return 0;
	*out = strtoll(text, &end, 10);
	if (*end != '\0' || *out < 0)
		return err_set(
			err, ERR_INVALID_VALUE, "Last-Event-ID", "must be the id of an event of this stream");
	return 0;
}

int event_stream_respond(struct request *req, int64_t job_seq, struct err *err)
{
	struct stream *stream;
	int64_t last;
	int rc = parse_last(&last, request_header(req, "Last-Event-ID"), err);

	if (rc != 0)
		return rc;
	stream = calloc(1, sizeof(*stream));
	if (stream == NULL)
		return err_nomem(err);
	stream->server = request_server(req);
	stream->req = req;
	stream->last = last;
	stream->follower = (struct follower){.job_seq = job_seq, .wake = wake, .arg = stream};
	events_follow(pool_events(stream->server->pool), &stream->follower);
	request_own(req, stream, stream_free);
	respond_header(req, "Cache-Control", "no-cache");
	respond_stream(req, "text/event-stream", pull, stream);
	return 0;
}
