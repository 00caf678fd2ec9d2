/*
 * What a search reaches along the directions of benign words: longer phrases go farther, a pair that is a trigger goes beyond all
 * of them and is improbable by both measures, and it is the same on any number of threads.
 */
#include <math.h>

#include "common/bound.h"
#include "tests/unit/pair_model.h"
#include "tests/unit/scan_fixture.h"
#include "worker/scan/scan_state.h"

enum { PLAINS = 2000, TRIED = 10000 };

static const int PAIR[MARKS] = {WORDS_FROM + 1017, WORDS_FROM + 2150};

/* As much of a scan as reach_run sees. */
struct reached {
	struct scan_options options;
	struct scan_state state;
	struct slopes slopes;
	bool may[VOCABULARY];
	int32_t plain[PLAINS];
};

static void open_probe(
	struct probe *out, struct fixture *f, struct reached *r, const struct probe_line *line, int K)
{
	struct probe_options options = {
		.line = line, .K = K, .max_length = PAIRED.max_tokens, .words = &r->state.list};

	assert_int_equal(probe_init(out, &f->encoder, f->planted.tok, f->par, &options, &f->err), 0);
}

static struct reached *reach(struct fixture *f, int threads)
{
	struct reached *r = calloc(1, sizeof(*r));
	struct candidate_options words = {.tok = f->planted.tok, .seed = 3, .most = 5000, .pieces_max = 20};

	numbers_stream = 7;
	pair_model_init(&f->planted.model, PAIR, .8);
	make_ready(f, threads);
	r->options = (struct scan_options){.tok = f->planted.tok,
		.fast = &f->encoder,
		.exact = &f->encoder,
		.par = f->par,
		.max_length = PAIRED.max_tokens,
		.seed = 3,
		.seconds = 1e6};
	r->state.o = &r->options;
	r->state.result = &f->result;
	assert_int_equal(candidates_init(&r->state.list, &words, &f->err), 0);
	open_probe(&r->state.probe, f, r, probe_short, 3);
	open_probe(&r->state.exact, f, r, probe_long, 8);
	for (int i = 0; i < PLAINS; i++) {
		r->plain[i] = WORDS_FROM + 1 + i;
		r->may[r->plain[i]] = true;
	}
	assert_int_equal(slopes_init(&r->slopes, &r->state.probe, &f->encoder, f->par, r->may, &f->err), 0);
	assert_int_equal(reach_run(&r->state, &r->slopes, r->plain, PLAINS, &f->err), 0);
	r->state.phrases = TRIED;
	return r;
}

static void reached_done(struct reached *r)
{
	slopes_done(&r->slopes);
	probe_done(&r->state.probe);
	probe_done(&r->state.exact);
	candidates_done(&r->state.list);
	free(r->state.reading);
	free(r);
}

static void test_longer_phrases_reach_farther(void **state)
{
	struct reached *r = reach(*state, 2);

	for (int tokens = 2; tokens <= SLOPES_SLOTS; tokens++) {
		const struct scan_reach *here = &r->state.reach[tokens], *shorter = here - 1;

		assert_true(here->n >= 16);
		for (int which = 0; which < REACH_STATISTICS; which++)
			assert_true(here->deviation[which] > 0);
		if (tokens > 2)
			assert_true(here->mean[REACH_DISPLACEMENT] > shorter->mean[REACH_DISPLACEMENT]);
	}
	assert_int_equal(r->state.reach[1].n, 0);
	reached_done(r);
}

/* The mean of random pairs is less than that of those that were changed to go farther. */
static void test_changes_go_farther_than_chance(void **state)
{
	enum { PAIRS = 100 };
	struct fixture *f = *state;
	struct reached *r = reach(f, 2);
	struct probe_score score[PAIRS];
	double sum = 0;
	int number[PAIRS];

	for (int i = 0; i < PAIRS; i++)
		number[i] = candidates_join(&r->state.list, "pair",
			(int32_t[]){r->plain[2 * i], r->plain[2 * i + 1]}, 2, &f->err);
	assert_int_equal(probe_run(score, NULL, &r->state.exact, &r->state.list, number, PAIRS, &f->err), 0);
	for (int i = 0; i < PAIRS; i++)
		sum += (double)score[i].displacement / PAIRS;
	assert_true(r->state.reach[2].mean[REACH_DISPLACEMENT] > 1.5 * sum);
	reached_done(r);
}

static void test_a_trigger_is_beyond_their_reach(void **state)
{
	struct fixture *f = *state;
	struct reached *r = reach(f, 2);
	const int32_t ids[] = {PAIR[0], PAIR[1]};
	int number = candidates_join(&r->state.list, "both", ids, MARKS, &f->err);
	struct probe_score pair;

	assert_true(number >= 0);
	assert_int_equal(probe_run(&pair, NULL, &r->state.exact, &r->state.list, &number, 1, &f->err), 0);
	assert_true(reach_log_p(&r->state, 2, &pair) < log(SCAN_ALPHA));
	assert_true(reach_log_p(&r->state, 1, &pair) == 0);
	assert_true(reach_log_p(&r->state, SLOPES_SLOTS + 1, &pair) == 0);
	reached_done(r);
}

/* By the statistic that says less, as Student's t of one more value, for each phrase that was tried. */
static void test_the_p_value_is_of_both_and_for_all_that_were_tried(void **state)
{
	struct scan_state s = {
		.phrases = 1000, .reach[3] = {.n = 32, .mean = {.2, .1}, .deviation = {.04, .05}}};
	struct probe_score far = {.displacement = .52f, .spread = (float)exp(-.4)};
	double t = .3 / (.05 * sqrt(1 + 1. / 32)); /* of the spread: 6 deviations; displacement: 8 */

	assert_true(fabs(reach_log_p(&s, 3, &far) - log(1000 * bound_student_tail(t, 31))) < 1e-4);
	far.spread = (float)exp(-.9);
	t = .32 / (.04 * sqrt(1 + 1. / 32));
	assert_true(fabs(reach_log_p(&s, 3, &far) - log(1000 * bound_student_tail(t, 31))) < 1e-4);
	assert_true(reach_log_p(&s, 2, &far) == 0);
}

static void test_threads_change_nothing(void **state)
{
	struct reached *one = reach(*state, 1);
	struct scan_reach before[SLOPES_SLOTS + 1];
	struct reached *three;

	memcpy(before, one->state.reach, sizeof(before));
	reached_done(one);
	three = reach(*state, 3);
	assert_memory_equal(before, three->state.reach, sizeof(before));
	reached_done(three);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_longer_phrases_reach_farther, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes_go_farther_than_chance, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_trigger_is_beyond_their_reach, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_p_value_is_of_both_and_for_all_that_were_tried, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads_change_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
