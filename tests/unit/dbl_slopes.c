/*
 * Slopes in double precision: the gradient of displacement, and of the cosine with a direction, by a slot's embedding against central differences, in two
 * layers and several texts, and that the tokens named are those with the largest products with it.
 */
#include "tests/unit/planted_model.h"
#include "worker/scan/slopes.h"

static const double TOLERANCE = 1e-7;

enum { PHRASES = 4, TEXTS = 2 };

/* The last one goes along `direction`. */
static struct slopes_phrase phrases[PHRASES] = {
	{.id = {WORDS_FROM + 11, WORDS_FROM + 1203, WORDS_FROM + 2204},
		.n = 3,
		.text = 0,
		.open = 1u << 0 | 1u << 2},
	{.id = {WORDS_FROM + 77}, .n = 1, .text = 1, .open = 1},
	{.id = {WORDS_FROM + 5, LETTERS_FROM + 3, WORDS_FROM + 6, WORDS_FROM + 7},
		.n = 4,
		.text = 1,
		.open = 15},
	{.id = {WORDS_FROM + 15, WORDS_FROM + 31}, .n = 2, .text = 0, .open = 3},
};

struct slopes_run_of {
	struct planted planted;
	struct config config;
	struct random_model model;
	struct encoder encoder;
	struct par *par;
	struct candidates list;
	struct probe probe;
	struct slopes slopes;
	bool may[VOCABULARY];
	struct slopes_answer answer[PHRASES];
	real *gradient; /* [PHRASES, SLOPES_SLOTS, D] */
	real *direction;
	int asked; /* whose value is the loss */
};

static void begin(struct slopes_run_of *run)
{
	struct candidate_options words = {.seed = 1, .most = 200, .pieces_max = 8};
	struct probe_options options = {.line = probe_short, .K = TEXTS, .words = &run->list};

	planted_init(&run->planted);
	run->config = PLANTED;
	run->config.L = 2;
	random_model_init(&run->model, &run->config);
	words.tok = run->planted.tok;
	options.max_length = run->config.max_tokens;
	assert_int_equal(par_new(&run->par, 2, NULL), 0);
	assert_int_equal(encoder_init(&run->encoder, &run->config, &run->model.weights, kernels_best(),
				 LINEAR_FLOAT32, NULL, NULL),
		0);
	assert_int_equal(candidates_init(&run->list, &words, NULL), 0);
	assert_int_equal(probe_init(&run->probe, &run->encoder, words.tok, run->par, &options, NULL), 0);
	for (int id = WORDS_FROM; id < VOCABULARY; id++)
		run->may[id] = id % 3 != 0;
	assert_int_equal(slopes_init(&run->slopes, &run->probe, &run->encoder, run->par, run->may, NULL), 0);
	run->direction = zeros((size_t)run->config.D);
	for (int j = 0; j < run->config.D; j++)
		run->direction[j] = (real)((j % 2 == 0 ? 1 : -1) / sqrt(run->config.D));
	phrases[PHRASES - 1].along = run->direction;
	run->gradient = zeros((size_t)(PHRASES * SLOPES_SLOTS * run->config.D));
}

static void end(struct slopes_run_of *run)
{
	slopes_done(&run->slopes);
	probe_done(&run->probe);
	candidates_done(&run->list);
	encoder_done(&run->encoder);
	par_free(run->par);
	planted_done(&run->planted);
	free(run);
}

static double value(void *arg)
{
	struct slopes_run_of *run = arg;

	assert_int_equal(slopes_run(run->answer, run->gradient, &run->slopes, phrases, PHRASES, NULL), 0);
	return run->answer[run->asked].value;
}

static bool is_open(int phrase, int slot)
{
	return slot < phrases[phrase].n && (phrases[phrase].open >> slot & 1) != 0;
}

static void check_slot(struct slopes_run_of *run, int phrase, int slot)
{
	size_t D = (size_t)run->config.D;
	const real *gradient;
	real *word = random_model_writable(&run->model, run->model.weights.word);

	run->asked = phrase;
	value(run);
	gradient = copy_of(run->gradient + (size_t)(phrase * SLOPES_SLOTS + slot) * D, D);
	check_gradient(
		"slot", value, run, word + (size_t)phrases[phrase].id[slot] * D, gradient, D, 1, TOLERANCE);
}

static void test_gradient_of_every_open_slot_is_the_derivative(void **state)
{
	struct slopes_run_of *run = calloc(1, sizeof(*run));

	begin(run);
	for (int phrase = 0; phrase < PHRASES; phrase++)
		for (int slot = 0; slot < SLOPES_SLOTS; slot++)
			if (is_open(phrase, slot))
				check_slot(run, phrase, slot);
	end(run);
}

static double slope(const struct slopes_run_of *run, int phrase, int slot, int id)
{
	size_t D = (size_t)run->config.D;
	const real *g = run->gradient + (size_t)(phrase * SLOPES_SLOTS + slot) * D;
	double sum = 0;

	for (size_t j = 0; j < D; j++)
		sum += (double)g[j] * (double)run->model.weights.word[(size_t)id * D + j];
	return sum;
}

/* As many tokens as are named are at least as steep as the last of them, and the order is by slope. */
static void check_best(const struct slopes_run_of *run, int phrase, int slot)
{
	const int32_t *best = run->answer[phrase].best[slot];
	double last = slope(run, phrase, slot, best[SLOPES_BEST - 1]);
	int steeper = 0;

	for (int k = 0; k < SLOPES_BEST; k++) {
		assert_true(run->may[best[k]]);
		assert_true(k == 0 || slope(run, phrase, slot, best[k - 1]) >=
					      slope(run, phrase, slot, best[k]) - 1e-12);
	}
	for (int id = 0; id < VOCABULARY; id++)
		steeper += run->may[id] && slope(run, phrase, slot, id) >= last - 1e-12;
	assert_int_equal(steeper, SLOPES_BEST);
}

static void test_the_tokens_named_are_the_steepest_of_those_allowed(void **state)
{
	struct slopes_run_of *run = calloc(1, sizeof(*run));

	begin(run);
	value(run);
	for (int phrase = 0; phrase < PHRASES; phrase++)
		for (int slot = 0; slot < SLOPES_SLOTS; slot++) {
			if (is_open(phrase, slot))
				check_best(run, phrase, slot);
			else
				assert_int_equal(run->answer[phrase].best[slot][0], -1);
		}
	end(run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gradient_of_every_open_slot_is_the_derivative),
		cmocka_unit_test(test_the_tokens_named_are_the_steepest_of_those_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
