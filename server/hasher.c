#include "server/hasher.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Whoever takes a queued block computes it. */
enum block_state { BLOCK_QUEUED, BLOCK_TAKEN };

struct hasher_block {
	uv_work_t work;
	struct hasher *owner; /* NULL: gone, or done with the block */
	struct sha256 *sha;   /* the thread's, while it has the block */
	atomic_int state;
	uv_sem_t done; /* posted by the thread that took it */
	size_t len;
	unsigned char data[HASHER_BLOCK_BYTES];
};

static bool take(struct hasher_block *block)
{
	int queued = BLOCK_QUEUED;

	return atomic_compare_exchange_strong(&block->state, &queued, BLOCK_TAKEN);
}

static void compute(uv_work_t *work)
{
	struct hasher_block *block = work->data;

	if (!take(block))
		return;
	sha256_add(block->sha, block->data, block->len);
	uv_sem_post(&block->done);
}

/* Nobody touches the block any more. */
static void computed(uv_work_t *work, int status)
{
	struct hasher_block *block = work->data;

	(void)status;
	if (block->owner != NULL) {
		block->owner->flying = NULL;
		block->owner->is_settled = false;
	}
	uv_sem_destroy(&block->done);
	free(block);
}

/* Let the block that flies be finished, or dropped where it has not begun and is not needed. */
static void settle(struct hasher *hasher, bool is_needed)
{
	struct hasher_block *block = hasher->flying;

	if (block == NULL || hasher->is_settled)
		return;
	if (!take(block))
		uv_sem_wait(&block->done);
	else if (is_needed)
		sha256_add(&hasher->sha, block->data, block->len);
	hasher->is_settled = true;
}

static void launch(struct hasher *hasher)
{
	struct hasher_block *block = hasher->filling;

	settle(hasher, true);
	if (hasher->flying != NULL) {
		sha256_add(&hasher->sha, block->data, block->len);
		block->len = 0;
		return;
	}
	hasher->filling = NULL;
	block->work.data = block;
	block->sha = &hasher->sha;
	block->owner = hasher;
	hasher->flying = block;
	uv_queue_work(hasher->loop, &block->work, compute, computed);
}

static struct hasher_block *block_new(struct err *err)
{
	struct hasher_block *block = malloc(sizeof(*block));

	if (block == NULL || uv_sem_init(&block->done, 0) != 0) {
		free(block);
		err_nomem(err);
		return NULL;
	}
	atomic_init(&block->state, BLOCK_QUEUED);
	block->len = 0;
	return block;
}

int hasher_init(struct hasher *out, uv_loop_t *loop, struct err *err)
{
	*out = (struct hasher){.loop = loop};
	return sha256_init(&out->sha, err);
}

int hasher_add(struct hasher *hasher, const void *data, size_t len, struct err *err)
{
	const unsigned char *p = data;

	while (len > 0) {
		struct hasher_block *block = hasher->filling;
		size_t n;

		if (block == NULL)
			block = hasher->filling = block_new(err);
		if (block == NULL)
			return -(int)err->code;
		n = MIN(len, sizeof(block->data) - block->len);
		memcpy(block->data + block->len, p, n);
		block->len += n;
		p += n;
		len -= n;
		if (block->len == sizeof(block->data))
			launch(hasher);
	}
	return 0;
}

static void let_go(struct hasher *hasher)
{
	if (hasher->flying != NULL)
		hasher->flying->owner = NULL;
	hasher->flying = NULL;
	hasher->is_settled = false;
	if (hasher->filling == NULL)
		return;
	uv_sem_destroy(&hasher->filling->done);
	free(hasher->filling);
	hasher->filling = NULL;
}

void hasher_hex(struct hasher *hasher, char out[SHA256_HEX_BYTES])
{
	settle(hasher, true);
	if (hasher->filling != NULL)
		sha256_add(&hasher->sha, hasher->filling->data, hasher->filling->len);
	let_go(hasher);
	sha256_hex(&hasher->sha, out);
}

void hasher_done(struct hasher *hasher)
{
	settle(hasher, false);
	let_go(hasher);
	sha256_done(&hasher->sha);
}
