/*
 * sink: the bytes of a part of an upload on their way into its SHA-256 and, where it has one, its file. A thread of libuv's
 * pool digests and writes, two thirds of the work, while the loop receives on.
 *
 * Bytes are collected in blocks; full ones queue up. One thread at a time takes them, oldest first, SINK_TURN of them at
 * most before other work of the pool has its turn. A queue of SINK_QUEUE blocks is full: the connection should sleep until
 * `room` is sent to, so that a part holds SINK_QUEUE blocks and what loop and thread had in hand at most. Whoever ends the
 * part waits for the block that a thread is at, and does the rest itself: a busy pool delays no end. Parts smaller
 * than a block see no thread.
 *
 * A write that failed is the answer of one of the next calls, sink_end at the latest; what follows it is dropped. Loop's
 * thread only. The file is the caller's, and stays open until sink_end or sink_free has returned.
 */
#ifndef OBLIVIATE_SINK_H
#define OBLIVIATE_SINK_H

#include <uv.h>

#include "common/sha256.h"

enum { SINK_BLOCK_BYTES = 256 << 10, SINK_QUEUE = 4, SINK_TURN = 16 };

struct sink;

/* `room` is sent to when a queue that sink_is_full found full is half empty; it outlives the sink. */
int sink_new(struct sink **out, uv_loop_t *loop, uv_async_t *room, struct err *err) MUST_USE;
/* Write to fd, from its position on. Before the first sink_add. */
void sink_write_to(struct sink *sink, int fd);
int sink_add(struct sink *sink, const void *data, size_t len, struct err *err) MUST_USE;
bool sink_is_full(struct sink *sink);
/* Everything is written; the digest of it all. Once; then sink_free. */
int sink_end(struct sink *sink, char out[SHA256_HEX_BYTES], struct err *err) MUST_USE;
/* What is not written yet is dropped. Accepts NULL. */
void sink_free(struct sink *sink);

#endif
