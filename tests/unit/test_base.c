/* arena, par, param, rng. */
#include <sched.h>
#include <stdatomic.h>

#include "tests/unit/numbers.h"
#include "worker/base/arena.h"
#include "worker/base/cpu.h"
#include "worker/base/par.h"
#include "worker/base/param.h"

/* --- arena --------------------------------------------------------------------------------------- */

static void test_arena_hands_out_what_it_counted(void **state)
{
	static const size_t SIZES[] = {1, 0, 64, 65, 1000};
	struct arena arena = {0};
	char *piece[NELEM(SIZES)];

	for (size_t i = 0; i < NELEM(SIZES); i++)
		assert_null(arena_take(&arena, SIZES[i], 4));
	assert_int_equal(arena_alloc(&arena, NULL), 0);
	for (size_t i = 0; i < NELEM(SIZES); i++) {
		piece[i] = arena_take(&arena, SIZES[i], 4);
		assert_int_equal((uintptr_t)piece[i] % 64, 0);
		for (size_t k = 0; k < SIZES[i] * 4; k++)
			assert_int_equal(piece[i][k], 0);
		memset(piece[i], 1, SIZES[i] * 4);
	}
	for (size_t i = 1; i < NELEM(SIZES); i++)
		assert_true(piece[i] >= piece[i - 1] + SIZES[i - 1] * 4);
	assert_true(arena.used <= arena.cap);
	arena_done(&arena);
	assert_null(arena.base);
}

static void test_arena_refuses_more_than_there_are_addresses(void **state)
{
	struct arena product = {0}, sum = {0}, total = {0};
	struct err err;

	arena_take(&product, SIZE_MAX / 2, 4);
	assert_int_equal(arena_alloc(&product, &err), -ERR_NO_MEMORY);
	arena_take(&sum, SIZE_MAX, 1);
	assert_int_equal(arena_alloc(&sum, &err), -ERR_NO_MEMORY);
	for (int i = 0; i < 3; i++)
		arena_take(&total, SIZE_MAX / 2 - 200, 1);
	assert_int_equal(arena_alloc(&total, &err), -ERR_NO_MEMORY);
}

static void test_arena_says_when_memory_is_out(void **state)
{
	struct arena arena = {0};
	struct err err;

	arena_take(&arena, (size_t)1 << 60, 1);
	assert_int_equal(arena_alloc(&arena, &err), -ERR_NO_MEMORY);
	assert_null(arena.base);
	arena_done(&arena);
}

static void test_arena_of_nothing_is_no_error(void **state)
{
	struct arena arena = {0};

	assert_int_equal(arena_alloc(&arena, NULL), 0);
	arena_done(&arena);
}

/* --- par ----------------------------------------------------------------------------------------- */

enum { TASKS = 200 };

struct tally {
	atomic_int runs[TASKS];
	atomic_int by_thread[4];
	int threads;
	atomic_int wrong;
};

static void count(void *arg, int task, int thread)
{
	struct tally *tally = arg;

	atomic_fetch_add(&tally->runs[task], 1);
	if (thread < 0 || thread >= tally->threads)
		atomic_fetch_add(&tally->wrong, 1);
	if (task % 50 == 0)
		sched_yield();
}

static void test_par_runs_every_task_once(void **state)
{
	for (int threads = 1; threads <= 4; threads++) {
		struct tally tally = {.threads = threads};
		struct par *par;

		assert_int_equal(par_new(&par, threads, NULL), 0);
		assert_int_equal(par_threads(par), threads);
		for (int round = 0; round < 50; round++)
			par_run(par, TASKS, count, &tally);
		for (int i = 0; i < TASKS; i++)
			assert_int_equal(tally.runs[i], 50);
		assert_int_equal(tally.wrong, 0);
		par_free(par);
	}
}

struct stopping {
	volatile sig_atomic_t stop;
	atomic_int done;
	int at;
};

static void stop_at_task(void *arg, int task, int thread)
{
	struct stopping *stopping = arg;

	(void)thread;
	atomic_fetch_add(&stopping->done, 1);
	if (task == stopping->at)
		stopping->stop = 1;
}

static void test_par_begins_no_task_once_it_is_told_to_stop(void **state)
{
	for (int threads = 1; threads <= 3; threads++) {
		struct stopping stopping = {.at = 5}, last = {.at = TASKS - 1}, before = {.stop = 1};
		struct par *par;

		assert_int_equal(par_new(&par, threads, NULL), 0);
		assert_true(par_run(par, TASKS, stop_at_task, &before)); /* not watched */
		assert_int_equal(before.done, TASKS);
		par_watch(par, &before.stop);
		assert_false(par_run(par, TASKS, stop_at_task, &before));
		assert_int_equal(before.done, TASKS);
		par_watch(par, &stopping.stop);
		if (threads == 1) { /* with more, the others may be through before task 5 is */
			assert_false(par_run(par, TASKS, stop_at_task, &stopping));
			assert_int_equal(stopping.done, stopping.at + 1);
		}
		par_watch(par, &last.stop);
		assert_true(par_run(par, TASKS, stop_at_task, &last));
		assert_int_equal(last.done, TASKS);
		par_free(par);
	}
}

static void test_par_takes_fewer_tasks_than_threads_and_none(void **state)
{
	struct par *par;

	assert_int_equal(par_new(&par, 4, NULL), 0);
	for (int tasks = 0; tasks < 4; tasks++) {
		struct tally tally = {.threads = 4};

		par_run(par, tasks, count, &tally);
		for (int i = 0; i < 4; i++)
			assert_int_equal(tally.runs[i], i < tasks);
	}
	par_free(par);
	par_free(NULL);
}

/* --- param --------------------------------------------------------------------------------------- */

static void test_params_lie_apart_and_padded(void **state)
{
	static const int SHAPES[][2] = {{3, 5}, {1, 1}, {4, 16}, {1, 100}};
	struct params params = {0};

	for (size_t i = 0; i < NELEM(SHAPES); i++)
		assert_int_equal(params_add(&params, i < 2 ? PARAM_PEFT : PARAM_HEAD, SHAPES[i][0],
					 SHAPES[i][1], NULL, "t.%zu", i),
			i);
	assert_int_equal(params_alloc(&params, NULL), 0);
	for (int i = 0; i < params.n; i++) {
		const struct param *p = &params.param[i];
		size_t end = i + 1 < params.n ? params.param[i + 1].at : params.size;

		assert_int_equal((uintptr_t)param_w(&params, i) % 64, 0);
		assert_true(end >= p->at + param_size(p));
		for (size_t k = p->at; k < end; k++)
			assert_true(
				params.w[k] == 0 && params.g[k] == 0 && params.m[k] == 0 && params.v[k] == 0);
	}
	assert_int_equal(params_count(&params, PARAM_PEFT), 16);
	assert_int_equal(params_count(&params, PARAM_HEAD), 164);
	assert_int_equal(params_count(&params, PARAM_BASE), 0);
	assert_int_equal(params_count(&params, -1), 180);
	assert_int_equal(params_find(&params, "t.2"), 2);
	assert_int_equal(params_find(&params, "t.4"), -1);
	params_done(&params);
}

static void test_params_table_grows(void **state)
{
	struct params params = {0};

	for (int i = 0; i < 300; i++)
		assert_int_equal(params_add(&params, PARAM_BASE, 1, 2, NULL, "tensor.%d", i), i);
	assert_int_equal(params_find(&params, "tensor.299"), 299);
	params_done(&params);
}

/* --- rng ----------------------------------------------------------------------------------------- */

/* Jobs are repeated by seed: another stream would be another result. */
static void test_draws_are_those_of_every_earlier_version(void **state)
{
	assert_true(rng_u64(rng_key(0, RNG_INIT), 0) == 0xf75234e557b2abf3u);
	assert_true(rng_u64(rng_key(1, RNG_ORDER), 5) == 0x2b6e79bbc95ca6abu);
	assert_true(rng_mask_u32(1, 2) == 0x43c5316au);
	assert_true(rng_mask_u32(0xdeadbeefu, 1000000) == 0x2ee35e2du);
}

static void test_uniform_draws_have_the_moments_of_a_uniform(void **state)
{
	enum { N = 20000 };
	double mean = 0, square = 0, pair = 0;

	for (uint64_t i = 0; i < N; i++) {
		double u = rng_unit(rng_key(9, RNG_SAMPLE), i),
		       next = rng_unit(rng_key(9, RNG_SAMPLE), i + 1);

		assert_true(u >= 0 && u < 1);
		mean += u / N;
		square += u * u / N;
		pair += u * next / N;
	}
	assert_near("mean", 0, mean, 0.5, 0.01);
	assert_near("square", 0, square, 1.0 / 3, 0.01);
	assert_near("neighbours", 0, pair, 0.25, 0.01);
}

static void test_normal_draws_have_the_moments_of_a_normal(void **state)
{
	enum { N = 20000 };
	double mean = 0, square = 0, fourth = 0;

	for (uint64_t i = 0; i < N; i++) {
		double x = rng_normal(rng_key(4, RNG_INIT), i);

		mean += x / N;
		square += x * x / N;
		fourth += x * x * x * x / N;
	}
	assert_near("mean", 0, mean, 0, 0.04);
	assert_near("variance", 0, square, 1, 0.06);
	assert_near("fourth moment", 0, fourth, 3, 0.4);
}

static void test_below_covers_its_range_evenly(void **state)
{
	int count_of[7] = {0};

	for (uint64_t i = 0; i < 7000; i++) {
		uint32_t draw = rng_below(123, i, 7);

		assert_true(draw < 7);
		count_of[draw]++;
	}
	for (size_t i = 0; i < 7; i++)
		assert_near("count", i, count_of[i], 1000, 150);
	assert_int_equal(rng_below(123, 5, 1), 0);
}

static void test_shuffle_is_a_permutation_that_the_key_decides(void **state)
{
	enum { N = 100 };
	int a[N], b[N], seen[N] = {0}, moved = 0;

	rng_shuffle(a, N, 5);
	rng_shuffle(b, N, 5);
	assert_memory_equal(a, b, sizeof(a));
	rng_shuffle(b, N, 6);
	assert_memory_not_equal(a, b, sizeof(a));
	for (int i = 0; i < N; i++) {
		assert_in_range(a[i], 0, N - 1);
		seen[a[i]]++;
		moved += a[i] != i;
	}
	for (int i = 0; i < N; i++)
		assert_int_equal(seen[i], 1);
	assert_true(moved > N / 2);
	rng_shuffle(a, 1, 5);
	assert_int_equal(a[0], 0);
}

static void test_streams_of_neighbouring_keys_differ(void **state)
{
	for (uint64_t key = 0; key < 50; key++)
		for (uint64_t id = 0; id < 50; id++) {
			assert_true(rng_key(key, id) != rng_key(key, id + 1));
			assert_true(rng_key(key, id) != rng_key(key + 1, id));
		}
}

/* --- cpu ----------------------------------------------------------------------------------------- */

static void test_processor_has_a_printable_name(void **state)
{
	char name[CPU_NAME_BYTES];

	cpu_name(name);
	assert_in_range(strlen(name), 1, CPU_NAME_BYTES - 1);
	for (const char *c = name; *c != '\0'; c++)
		assert_in_range(*c, ' ', '~');
	assert_int_not_equal(name[strlen(name) - 1], ' ');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arena_hands_out_what_it_counted),
		cmocka_unit_test(test_arena_refuses_more_than_there_are_addresses),
		cmocka_unit_test(test_arena_says_when_memory_is_out),
		cmocka_unit_test(test_arena_of_nothing_is_no_error),
		cmocka_unit_test(test_par_runs_every_task_once),
		cmocka_unit_test(test_par_takes_fewer_tasks_than_threads_and_none),
		cmocka_unit_test(test_par_begins_no_task_once_it_is_told_to_stop),
		cmocka_unit_test(test_params_lie_apart_and_padded),
		cmocka_unit_test(test_params_table_grows),
		cmocka_unit_test(test_draws_are_those_of_every_earlier_version),
		cmocka_unit_test(test_uniform_draws_have_the_moments_of_a_uniform),
		cmocka_unit_test(test_normal_draws_have_the_moments_of_a_normal),
		cmocka_unit_test(test_below_covers_its_range_evenly),
		cmocka_unit_test(test_shuffle_is_a_permutation_that_the_key_decides),
		cmocka_unit_test(test_streams_of_neighbouring_keys_differ),
		cmocka_unit_test(test_processor_has_a_printable_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
