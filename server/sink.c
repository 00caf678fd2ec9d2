#include "server/sink.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"

/* The disk gets to work this often, so that the fsync at the end is short. */
enum { WRITEBACK_BYTES = 4 << 20 };

struct block {
	struct block *next;
	size_t len;
	unsigned char data[SINK_BLOCK_BYTES];
};

/* `mutex` guards what both sides touch; sha, fd, written and err are whose turn it is (is_busy). */
struct sink {
	uv_loop_t *loop;
	uv_async_t *room;
	uv_work_t work;
	bool is_launched; /* libuv holds `work` */
	bool is_freed;	  /* ... and frees the sink when it lets go */
	struct block *filling;

	struct sha256 sha;
	int fd; /* -1: none */
	uint64_t written;
	struct err err;

	uv_mutex_t mutex;
	uv_cond_t paused; /* is_busy has become false */
	struct block *queue, **end;
	struct block *spare; /* used blocks */
	size_t queued;
	bool is_busy;	 /* a thread is at a block */
	bool is_taken;	 /* by the loop: no thread begins another block */
	bool has_failed; /* err says how */
	bool is_awaited; /* send to room */
};

/* ---- a block, in whichever thread ---- */

static int write_block(struct sink *sink, const struct block *block)
{
	uint64_t before = sink->written / WRITEBACK_BYTES;
	int rc = io_write_all(sink->fd, block->data, block->len, &sink->err);

	sink->written += block->len;
	/* Starts the writing and does not wait for it. A wish: where it fails, fsync does all the work. */
	if (rc == 0 && sink->written / WRITEBACK_BYTES != before)
		(void)sync_file_range(sink->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	return rc;
}

/* Digested first, while the loop's processor may still have it in its cache. */
static int consume(struct sink *sink, const struct block *block)
{
	sha256_add(&sink->sha, block->data, block->len);
	return sink->fd < 0 ? 0 : write_block(sink, block);
}

/* ---- the queue ---- */

static void append(struct sink *sink, struct block *block)
{
	block->next = NULL;
	*sink->end = block;
	sink->end = &block->next;
	sink->queued++;
}

static struct block *take_first(struct sink *sink)
{
	struct block *block = sink->queue;

	if (block == NULL)
		return NULL;
	sink->queue = block->next;
	if (sink->queue == NULL)
		sink->end = &sink->queue;
	sink->queued--;
	return block;
}

static void keep_spare(struct sink *sink, struct block *block)
{
	block->next = sink->spare;
	sink->spare = block;
}

static void blocks_free(struct block *block)
{
	while (block != NULL) {
		struct block *next = block->next;

		free(block);
		block = next;
	}
}

/* ---- in the pool ---- */

/* Once it is taken, the queue is the loop's. */
static bool has_work(const struct sink *sink)
{
	return !sink->is_taken && !sink->has_failed && sink->queue != NULL;
}

/* The block to begin with; NULL: there is none. */
static struct block *begin_block(struct sink *sink)
{
	struct block *block;

	uv_mutex_lock(&sink->mutex);
	block = has_work(sink) ? take_first(sink) : NULL;
	sink->is_busy = block != NULL;
	uv_mutex_unlock(&sink->mutex);
	return block;
}

static void end_block(struct sink *sink, struct block *block, int rc)
{
	uv_mutex_lock(&sink->mutex);
	keep_spare(sink, block);
	sink->has_failed = rc != 0;
	sink->is_busy = false;
	uv_cond_signal(&sink->paused);
	if (sink->is_awaited && (sink->queued <= SINK_QUEUE / 2 || sink->has_failed)) {
		sink->is_awaited = false;
		uv_async_send(sink->room);
	}
	uv_mutex_unlock(&sink->mutex);
}

/* After a turn other work of the pool comes first: a fast client must not keep a thread to itself. */
static void drain(uv_work_t *work)
{
	struct sink *sink = work->data;
	struct block *block;

	for (int i = 0; i < SINK_TURN && (block = begin_block(sink)) != NULL; i++)
		end_block(sink, block, consume(sink, block));
}

/* ---- on the loop ---- */

static void destroy(struct sink *sink)
{
	uv_mutex_destroy(&sink->mutex);
	uv_cond_destroy(&sink->paused);
	free(sink);
}

static void launch(struct sink *sink);

static void drained(uv_work_t *work, int status)
{
	struct sink *sink = work->data;
	bool goes_on;

	(void)status;
	sink->is_launched = false;
	if (sink->is_freed) {
		destroy(sink);
		return;
	}
	uv_mutex_lock(&sink->mutex);
	goes_on = has_work(sink);
	uv_mutex_unlock(&sink->mutex);
	if (goes_on)
		launch(sink);
}

static void launch(struct sink *sink)
{
	if (sink->is_launched)
		return;
	sink->is_launched = true;
	uv_queue_work(sink->loop, &sink->work, drain, drained);
}

int sink_new(struct sink **out, uv_loop_t *loop, uv_async_t *room, struct err *err)
{
	struct sink *sink = calloc(1, sizeof(*sink));

	if (sink == NULL || sha256_init(&sink->sha, err) != 0)
		goto no_sink;
	if (uv_mutex_init(&sink->mutex) != 0)
		goto no_mutex;
	if (uv_cond_init(&sink->paused) != 0)
		goto no_cond;
	sink->loop = loop;
	sink->room = room;
	sink->work.data = sink;
	sink->end = &sink->queue;
	sink->fd = -1;
	*out = sink;
	return 0;

no_cond:
	uv_mutex_destroy(&sink->mutex);
no_mutex:
	sha256_done(&sink->sha);
no_sink:
	free(sink);
	return err_nomem(err);
}

void sink_write_to(struct sink *sink, int fd)
{
	sink->fd = fd;
}

static struct block *block_new(struct sink *sink, struct err *err)
{
	struct block *block;

	uv_mutex_lock(&sink->mutex);
	block = sink->spare;
	if (block != NULL)
		sink->spare = block->next;
	uv_mutex_unlock(&sink->mutex);
	if (block == NULL)
		block = malloc(sizeof(*block));
	if (block == NULL)
		err_nomem(err);
	else
		block->len = 0;
	return block;
}

/* 0 while nothing has failed. */
static int outcome(struct sink *sink, struct err *err)
{
	bool has_failed;

	uv_mutex_lock(&sink->mutex);
	has_failed = sink->has_failed;
	uv_mutex_unlock(&sink->mutex);
	if (!has_failed)
		return 0;
	*err = sink->err;
	return -(int)err->code;
}

static int hand_over(struct sink *sink, struct err *err)
{
	uv_mutex_lock(&sink->mutex);
	append(sink, sink->filling);
	uv_mutex_unlock(&sink->mutex);
	sink->filling = NULL;
	launch(sink);
	return outcome(sink, err);
}

int sink_add(struct sink *sink, const void *data, size_t len, struct err *err)
{
	const unsigned char *p = data;
	int rc = 0;

	while (rc == 0 && len > 0) {
		struct block *block = sink->filling;
		size_t n;

		if (block == NULL)
			block = sink->filling = block_new(sink, err);
		if (block == NULL)
			return -(int)err->code;
		n = MIN(len, sizeof(block->data) - block->len);
		memcpy(block->data + block->len, p, n);
		block->len += n;
		p += n;
		len -= n;
		if (block->len == sizeof(block->data))
			rc = hand_over(sink, err);
	}
	return rc;
}

bool sink_is_full(struct sink *sink)
{
	bool is_full;

	uv_mutex_lock(&sink->mutex);
	is_full = sink->queued >= SINK_QUEUE && !sink->has_failed;
	sink->is_awaited = is_full;
	uv_mutex_unlock(&sink->mutex);
	return is_full;
}

/* From here on no thread touches what is behind the mutex, or the file. */
static void take(struct sink *sink)
{
	uv_mutex_lock(&sink->mutex);
	sink->is_taken = true;
	while (sink->is_busy)
		uv_cond_wait(&sink->paused, &sink->mutex);
	uv_mutex_unlock(&sink->mutex);
}

int sink_end(struct sink *sink, char out[SHA256_HEX_BYTES], struct err *err)
{
	int rc;

	take(sink);
	if (sink->filling != NULL)
		append(sink, sink->filling);
	sink->filling = NULL;
	rc = outcome(sink, err);
	for (struct block *block; rc == 0 && (block = take_first(sink)) != NULL; keep_spare(sink, block)) {
		rc = consume(sink, block);
		if (rc != 0)
			*err = sink->err;
	}
	if (rc == 0)
		sha256_hex(&sink->sha, out);
	return rc;
}

void sink_free(struct sink *sink)
{
	if (sink == NULL)
		return;
	take(sink);
	blocks_free(sink->queue);
	blocks_free(sink->spare);
	free(sink->filling);
	sha256_done(&sink->sha);
	sink->is_freed = true;
	if (!sink->is_launched)
		destroy(sink);
}
