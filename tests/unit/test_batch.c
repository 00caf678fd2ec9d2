/* batch and corpus: every text once, in slices that no limit forbids, whatever the lengths. */
#include "tests/unit/numbers.h"
#include "worker/train/batch.h"

enum { TEXTS_MAX = 40, DRAWS = 400 };

static int draw(uint64_t key, uint64_t index, int low, int high)
{
	return low + (int)rng_below(key, index, (uint32_t)(high - low + 1));
}

/* Many short texts and a few long ones, as data sets have them. */
static void random_corpus(struct corpus *corpus, int n, int longest, uint64_t key)
{
	static const int32_t ids[512] = {0};

	*corpus = (struct corpus){0};
	for (int i = 0; i < n; i++) {
		int top = draw(key, (uint64_t)i, 0, 3) == 0 ? longest : MAX(1, longest / 4);
		int length = draw(key, (uint64_t)(1000 + i), 1, top);

		assert_int_equal(corpus_add_ids(corpus, ids, length, length / 2, i % 5, NULL), 0);
	}
}

/* The sequence of text number i, wherever it lies. */
static const struct sequence *find(const struct batch *batch, int number, int *label)
{
	const struct sequence *found = NULL;

	for (int s = 0; s < batch->slices; s++)
		for (int i = 0; i < batch->slice[s].n; i++)
			if (batch->slice[s].seq[i].number == number) {
				assert_null(found);
				found = &batch->slice[s].seq[i];
				*label = batch->labels[s][i];
			}
	assert_non_null(found);
	return found;
}

static void check_texts(const struct batch *batch, const struct corpus *corpus, const int *rows)
{
	int row = 0;

	for (int i = 0; i < batch->n; i++) {
		const struct text *text = &corpus->text[rows[i]];
		int label;
		const struct sequence *seq = find(batch, i, &label);

		assert_ptr_equal(seq->ids, corpus->ids + text->at);
		assert_int_equal(seq->n, text->n);
		assert_int_equal(seq->second, text->second);
		assert_int_equal(seq->row, row);
		assert_int_equal(label, text->label);
		row += text->n;
	}
	assert_int_equal(batch->T, row);
}

static void check_slices(const struct batch *batch, struct slice_limits limits, int longest)
{
	int least = INT_MAX, most = 0, texts = 0;

	for (int s = 0; s < batch->slices; s++) {
		const struct slice *slice = &batch->slice[s];
		int tokens = 0;

		for (int i = 0; i < slice->n; i++) {
			assert_in_range(slice->seq[i].n, 1, limits.longest);
			tokens += slice->seq[i].n;
		}
		assert_int_equal(slice->T, tokens);
		assert_in_range(slice->n, 1, limits.sequences);
		assert_in_range(tokens, 1, limits.tokens);
		least = MIN(least, tokens);
		most = MAX(most, tokens);
		texts += slice->n;
	}
	assert_int_equal(texts, batch->n);
	assert_true(most - least <= longest); /* balanced: a text more or less */
}

static void check_one(uint64_t key)
{
	static const int CAPS[] = {1, 2, 3, 4, 7, INT_MAX};
	int n = draw(key, 0, 1, TEXTS_MAX), longest = draw(key, 1, 1, 400), used = draw(key, 2, 1, n);
	int cap = MIN(CAPS[draw(key, 3, 0, NELEM(CAPS) - 1)], batch_most_slices(n, longest));
	struct slice_limits limits = batch_limits(n, longest, cap);
	struct corpus corpus;
	struct batch batch;
	int rows[TEXTS_MAX];

	random_corpus(&corpus, n, longest, rng_key(key, 4));
	rng_shuffle(rows, n, rng_key(key, 5));
	assert_int_equal(batch_init(&batch, n, cap, NULL), 0);
	for (int round = 0; round < 2; round++) {
		int size = round == 0 ? n : used; /* a short batch in what a full one has left */

		batch_fill(&batch, &corpus, rows, size);
		assert_int_equal(batch.n, size);
		assert_in_range(batch.slices, 1, MIN(cap, size));
		check_texts(&batch, &corpus, rows);
		check_slices(&batch, limits, corpus.longest);
	}
	batch_done(&batch);
	corpus_done(&corpus);
}

static void test_slices_hold_every_text_once_within_the_limits(void **state)
{
	for (uint64_t key = 0; key < DRAWS; key++)
		check_one(rng_key(77, key));
}

static void test_full_batches_of_the_longest_texts_fit(void **state)
{
	static const int SHAPES[][2] = {
		{1, 1}, {1, 512}, {2, 400}, {16, 128}, {40, 37}, {3, 384}, {3, 255}, {7, 55}};

	for (size_t i = 0; i < NELEM(SHAPES); i++) {
		int n = SHAPES[i][0], longest = SHAPES[i][1], rows[TEXTS_MAX];
		static const int32_t ids[512] = {0};
		struct corpus corpus = {0};
		struct batch batch;

		for (int t = 0; t < n; t++) {
			assert_int_equal(corpus_add_ids(&corpus, ids, longest, longest, 0, NULL), 0);
			rows[t] = t;
		}
		assert_int_equal(batch_init(&batch, n, batch_most_slices(n, longest), NULL), 0);
		batch_fill(&batch, &corpus, rows, n);
		check_slices(&batch, batch_limits(n, longest, batch_most_slices(n, longest)), longest);
		batch_done(&batch);
		corpus_done(&corpus);
	}
}

static void test_slices_are_large_enough_for_a_core(void **state)
{
	assert_int_equal(batch_most_slices(1, 512), 1);
	assert_int_equal(batch_most_slices(16, 8), 2);
	assert_int_equal(batch_most_slices(16, 128), 10);
	for (int n = 1; n <= 64; n++)
		for (int longest = 1; longest <= 256; longest += 15) {
			int slices = batch_most_slices(n, longest);

			assert_in_range(slices, 1, n);
			if (slices > 2)
				assert_true(n * longest / slices >= SLICE_TOKENS);
		}
}

static void test_same_texts_are_divided_alike(void **state)
{
	struct corpus corpus;
	struct batch a, b;
	int rows[TEXTS_MAX];

	random_corpus(&corpus, TEXTS_MAX, 100, 3);
	rng_shuffle(rows, TEXTS_MAX, 9);
	assert_int_equal(batch_init(&a, TEXTS_MAX, 20, NULL), 0);
	assert_int_equal(batch_init(&b, TEXTS_MAX, 20, NULL), 0);
	batch_fill(&a, &corpus, rows + 10, 30);
	batch_fill(&a, &corpus, rows, TEXTS_MAX);
	batch_fill(&b, &corpus, rows, TEXTS_MAX);
	assert_int_equal(a.slices, b.slices);
	assert_memory_equal(a.seq, b.seq, TEXTS_MAX * sizeof(*a.seq));
	assert_memory_equal(a.label, b.label, TEXTS_MAX * sizeof(*a.label));
	for (int s = 0; s < a.slices; s++) {
		assert_int_equal(a.slice[s].n, b.slice[s].n);
		assert_int_equal(a.slice[s].seq - a.seq, b.slice[s].seq - b.seq);
	}
	batch_done(&a);
	batch_done(&b);
	corpus_done(&corpus);
}

/* --- corpus -------------------------------------------------------------------------------------- */

static void test_corpus_keeps_texts_apart_while_it_grows(void **state)
{
	struct corpus corpus = {0};
	size_t tokens = 0;

	for (int i = 0; i < 700; i++) {
		int32_t ids[13];
		int n = 1 + i % 13;

		for (int k = 0; k < n; k++)
			ids[k] = 100 * i + k;
		assert_int_equal(corpus_add_ids(&corpus, ids, n, n, i, NULL), 0);
		tokens += (size_t)n;
	}
	assert_int_equal(corpus.n, 700);
	assert_int_equal(corpus.longest, 13);
	assert_int_equal(corpus_tokens(&corpus), tokens);
	for (int i = 0; i < corpus.n; i++)
		for (int k = 0; k < corpus.text[i].n; k++)
			assert_int_equal(corpus.ids[corpus.text[i].at + (size_t)k], 100 * i + k);
	corpus_clear(&corpus);
	assert_int_equal(corpus.n, 0);
	assert_int_equal(corpus.longest, 0);
	assert_int_equal(corpus_tokens(&corpus), 0);
	corpus_done(&corpus);
	assert_null(corpus.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slices_hold_every_text_once_within_the_limits),
		cmocka_unit_test(test_full_batches_of_the_longest_texts_fit),
		cmocka_unit_test(test_slices_are_large_enough_for_a_core),
		cmocka_unit_test(test_same_texts_are_divided_alike),
		cmocka_unit_test(test_corpus_keeps_texts_apart_while_it_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
