#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "worker/data/vocab.h"

enum { SIZE = 100000 };

static void test_tokens_are_found_by_text_and_by_id(void **state)
{
	struct vocab vocab;
	char text[16];
	size_t len;

	assert_int_equal(vocab_init(&vocab, SIZE, NULL), 0);
	assert_int_equal(vocab_find(&vocab, "t0", 2), -1);
	for (int id = 0; id < SIZE; id += 3) {
		snprintf(text, sizeof(text), "t%d", id);
		assert_int_equal(vocab_add(&vocab, text, strlen(text), id, "here", NULL), 0);
	}
	for (int id = 0; id < SIZE; id++) {
		snprintf(text, sizeof(text), "t%d", id);
		assert_int_equal(vocab_find(&vocab, text, strlen(text)), id % 3 == 0 ? id : -1);
		assert_true((vocab_text(&len, &vocab, id) != NULL) == (id % 3 == 0));
	}
	assert_memory_equal(vocab_text(&len, &vocab, 99), "t99", 3);
	assert_int_equal(len, 3);
	assert_null(vocab_text(&len, &vocab, SIZE));
	assert_int_equal(vocab.n, SIZE);
	assert_int_equal(vocab.longest, 6);
	vocab_done(&vocab);
}

static void test_a_text_is_found_in_two_parts(void **state)
{
	struct vocab vocab;
	uint64_t hash = vocab_hash(VOCAB_HASH_START, "##ab", 4);

	assert_int_equal(vocab_init(&vocab, 4, NULL), 0);
	assert_int_equal(vocab_add(&vocab, "##ab", 4, 1, "here", NULL), 0);
	assert_int_equal(vocab_find_hashed(&vocab, hash, "##", 2, "ab", 2), 1);
	assert_int_equal(vocab_find_hashed(&vocab, hash, "##", 2, "ac", 2), -1);
	vocab_done(&vocab);
}

static void test_pairs_keep_the_last_value(void **state)
{
	struct pairs pairs = {0};

	assert_null(pairs_find(&pairs, 0, 0));
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < SIZE; i++)
			assert_int_equal(
				pairs_put(&pairs, i, i / 2, i + round, i + 2 * round, "here", NULL), 0);
	assert_int_equal(pairs.used, SIZE);
	assert_int_equal(pairs_find(&pairs, 7, 3)->rank, 8);
	assert_int_equal(pairs_find(&pairs, 7, 3)->value, 9);
	assert_null(pairs_find(&pairs, 3, 7));
	pairs_done(&pairs);
}

/* The place of a hash in a table, as vocab.c finds it. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 33) * UINT64_C(0xFF51AFD7ED558CCD);
	x = (x ^ x >> 33) * UINT64_C(0xC4CEB9FE1A85EC53);
	return x ^ x >> 33;
}

/* Tables of any size up to 2^12 put these on the same place. */
static bool is_crowded(uint64_t hash)
{
	return (mix(hash) & 0xFFF) == 0;
}

static void test_crafted_texts_cannot_slow_the_table_down(void **state)
{
	struct vocab vocab;
	struct err err = {0};
	int rc = 0, n = 0;

	assert_int_equal(vocab_init(&vocab, SIZE, NULL), 0);
	for (int i = 0; rc == 0 && i < 10000000; i++) {
		char text[16];
		size_t len = (size_t)snprintf(text, sizeof(text), "%d", i);

		if (is_crowded(vocab_hash(VOCAB_HASH_START, text, len)))
			rc = vocab_add(&vocab, text, len, n++, "here", &err);
	}
	assert_int_equal(rc, -ERR_INVALID_TOKENIZER);
	assert_string_equal(err.where, "here");
	assert_non_null(strstr(err.text, "fall on one place"));
	assert_int_equal(n, VOCAB_PROBES_MAX + 1);
	vocab_done(&vocab);
}

static void test_crafted_merges_cannot_slow_the_table_down(void **state)
{
	struct pairs pairs = {0};
	struct err err = {0};
	int rc = 0, n = 0;

	for (int i = 0; rc == 0 && i < 10000000; i++)
		if (is_crowded((uint64_t)i)) {
			rc = pairs_put(&pairs, 0, i, 0, 0, "here", &err);
			n++;
		}
	assert_int_equal(rc, -ERR_INVALID_TOKENIZER);
	assert_int_equal(n, VOCAB_PROBES_MAX + 1);
	pairs_done(&pairs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tokens_are_found_by_text_and_by_id),
		cmocka_unit_test(test_a_text_is_found_in_two_parts),
		cmocka_unit_test(test_pairs_keep_the_last_value),
		cmocka_unit_test(test_crafted_texts_cannot_slow_the_table_down),
		cmocka_unit_test(test_crafted_merges_cannot_slow_the_table_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
