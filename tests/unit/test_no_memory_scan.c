/*
 * Without memory: what the search along gradients takes before it begins (no_memory.h).
 */
#include "tests/unit/no_memory.h"

#include "tests/unit/planted_model.h"
#include "worker/scan/scan_state.h"

/* Without words to try, setting up is all that it does. */
static int set_up_guided(void *arg, struct err *err)
{
	return guided_run(arg, err);
}

static void test_following_gradients(void **state)
{
	struct planted planted;
	struct encoder encoder;
	struct scan_options options = {.seed = 1};
	struct scan_result result = {0};
	struct scan_state s = {.o = &options, .result = &result};
	struct probe_options probe = {.line = probe_short, .K = 2, .max_length = 64, .words = &s.list};

	planted_init(&planted);
	assert_int_equal(par_new(&options.par, 2, NULL), 0);
	assert_int_equal(encoder_init(&encoder, &planted.model.config, &planted.model.weights, kernels_best(),
				 LINEAR_FLOAT32, NULL, NULL),
		0);
	options.tok = planted.tok;
	options.exact = options.fast = &encoder;
	assert_int_equal(probe_init(&s.probe, &encoder, planted.tok, options.par, &probe, NULL), 0);
	check(set_up_guided, &s);
	probe_done(&s.probe);
	encoder_done(&encoder);
	par_free(options.par);
	planted_done(&planted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_following_gradients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
