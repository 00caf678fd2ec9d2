/* tiny_tokenizer: tokenizer files small enough to count by hand, and what a test asks of them. */
#ifndef OBLIVIATE_TESTS_TINY_TOKENIZER_H
#define OBLIVIATE_TESTS_TINY_TOKENIZER_H

#include "tests/unit/scratch.h"
#include "worker/data/tokenizer.h"

enum { TINY_VOCAB_SIZE = 400, NO_LIMIT = INT_MAX };

struct tiny {
	struct scratch scratch;
	struct tokenizer *tok;
	struct encoding encoding;
	struct err err;
};

static int tiny_setup(void **state)
{
	struct tiny *tiny = calloc(1, sizeof(*tiny));

	scratch_init(&tiny->scratch);
	*state = tiny;
	return 0;
}

static int tiny_teardown(void **state)
{
	struct tiny *tiny = *state;

	tokenizer_free(tiny->tok);
	encoding_done(&tiny->encoding);
	scratch_done(&tiny->scratch);
	free(tiny);
	return 0;
}

static inline void tiny_open(struct tiny *tiny, const char *model_type)
{
	if (tokenizer_open(&tiny->tok, tiny->scratch.fd, model_type, TINY_VOCAB_SIZE, &tiny->err) != 0)
		fail_msg("%s: %s", tiny->err.where, tiny->err.text);
}

static inline void assert_ids(const struct ids *ids, const int *want, int n)
{
	for (int i = 0; i < ids->n && i < n; i++)
		assert_int_equal(ids->id[i], want[i]);
	assert_int_equal(ids->n, n);
}

/* The ids of text, and pair unless it is NULL, at max_length, are the arguments behind. */
#define ASSERT_ENCODES(tiny, text, pair, max_length, ...)                                                    \
	do {                                                                                                 \
		const int want_[] = {__VA_ARGS__};                                                           \
		const char *pair_ = (pair);                                                                  \
		assert_int_equal(tokenizer_encode(&(tiny)->encoding, (tiny)->tok, text, strlen(text), pair_, \
					 pair_ != NULL ? strlen(pair_) : 0, max_length, &(tiny)->err),       \
			0);                                                                                  \
		assert_ids(&(tiny)->encoding.ids, want_, (int)NELEM(want_));                                 \
	} while (0)

#endif
