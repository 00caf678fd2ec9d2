/*
 * hasher: the SHA-256 of a part of an upload, computed on another thread while the loop reads and writes on: alone the
 * digest of 500 MB takes as long as everything else.
 *
 * Bytes are collected in blocks. One full block at a time is with libuv's thread pool; who needs it done (the next
 * block, the end) waits for it, half a millisecond at most, or computes it itself where no thread has begun yet: other
 * work in the pool never stops the loop. The next block flies when the pool has let go of the last one, and is computed
 * here until then, so that there are two blocks at most. Parts smaller than a block see no thread. Loop's thread only.
 */
#ifndef OBLIVIATE_HASHER_H
#define OBLIVIATE_HASHER_H

#include <uv.h>

#include "common/sha256.h"

enum { HASHER_BLOCK_BYTES = 512 << 10 };

struct hasher {
	uv_loop_t *loop;
	struct sha256 sha;
	struct hasher_block *filling;
	struct hasher_block *flying; /* with the pool */
	bool is_settled;	     /* its bytes are in, but the pool has not let go of it yet */
};

int hasher_init(struct hasher *out, uv_loop_t *loop, struct err *err) MUST_USE;
int hasher_add(struct hasher *hasher, const void *data, size_t len, struct err *err) MUST_USE;
/* The digest of everything; the hasher is empty afterwards, as after hasher_done. */
void hasher_hex(struct hasher *hasher, char out[SHA256_HEX_BYTES]);
/* Accepts a zeroed struct. */
void hasher_done(struct hasher *hasher);

#endif
