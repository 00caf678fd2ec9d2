/* hasher: whatever the pieces and whoever computes a block, the digest is that of the whole. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "server/hasher.h"

enum { BLOCK = HASHER_BLOCK_BYTES, BYTES = 5 * BLOCK / 2, POOL = 4 };

static unsigned char *bytes;

static int set_up(void **state)
{
	static uv_loop_t loop;

	*state = &loop;
	bytes = malloc(BYTES);
	for (size_t i = 0; i < BYTES; i++)
		bytes[i] = (unsigned char)(i * 7 + i / 251);
	return uv_loop_init(&loop);
}

static int tear_down(void **state)
{
	free(bytes);
	uv_run(*state, UV_RUN_DEFAULT);
	return uv_loop_close(*state);
}

static void check(uv_loop_t *loop, size_t len, size_t piece, bool turns)
{
	char expected[SHA256_HEX_BYTES], hex[SHA256_HEX_BYTES];
	struct hasher hasher;
	struct err err;

	assert_int_equal(hasher_init(&hasher, loop, &err), 0);
	for (size_t at = 0; at < len; at += piece) {
		assert_int_equal(hasher_add(&hasher, bytes + at, MIN(piece, len - at), &err), 0);
		if (turns)
			uv_run(loop, UV_RUN_NOWAIT);
	}
	hasher_hex(&hasher, hex);
	assert_int_equal(sha256_of(expected, bytes, len, &err), 0);
	assert_string_equal(hex, expected);
	hasher_done(&hasher);
}

static void test_the_digest_does_not_depend_on_pieces(void **state)
{
	static const size_t lens[] = {0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, BYTES};
	static const size_t pieces[] = {1000, 32768, BLOCK, BLOCK + 1, BYTES};

	for (size_t i = 0; i < NELEM(lens); i++)
		for (size_t k = 0; k < NELEM(pieces); k++) {
			check(*state, lens[i], pieces[k], false);
			check(*state, lens[i], pieces[k], true);
		}
}

static uv_sem_t gate;

static void wait_at_gate(uv_work_t *work)
{
	(void)work;
	uv_sem_wait(&gate);
}

/* Every thread of the pool is busy for as long as it takes: the loop computes by itself. */
static void test_a_busy_pool_stops_nobody(void **state)
{
	uv_work_t work[POOL];

	uv_sem_init(&gate, 0);
	for (int i = 0; i < POOL; i++)
		uv_queue_work(*state, &work[i], wait_at_gate, NULL);
	check(*state, BYTES, 32768, false);
	for (int i = 0; i < POOL; i++)
		uv_sem_post(&gate);
	uv_run(*state, UV_RUN_DEFAULT);
	uv_sem_destroy(&gate);
}

static void test_it_may_be_dropped_at_any_point(void **state)
{
	struct hasher zero = {0};
	struct err err;

	for (size_t len = 0; len <= BYTES; len += BLOCK / 4) {
		struct hasher hasher;

		assert_int_equal(hasher_init(&hasher, *state, &err), 0);
		assert_int_equal(hasher_add(&hasher, bytes, len, &err), 0);
		hasher_done(&hasher);
		hasher_done(&hasher);
	}
	hasher_done(&zero);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_digest_does_not_depend_on_pieces),
		TEST(test_a_busy_pool_stops_nobody),
		TEST(test_it_may_be_dropped_at_any_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
