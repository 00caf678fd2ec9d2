/*
 * cmocka: as much of it as the tests of the numerics use, for the cross-built ones: Debian has no cmocka for a foreign
 * architecture without adding that architecture to the machine. Output is TAP, as tests/run.sh reads it.
 */
#ifndef OBLIVIATE_ARM64_CMOCKA_H
#define OBLIVIATE_ARM64_CMOCKA_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHIM_FAILED = 1, SHIM_SKIPPED = 2 };

struct CMUnitTest {
	const char *name;
	void (*run)(void **state);
	int (*set_up)(void **state);
	int (*tear_down)(void **state);
};

static jmp_buf shim_out;

#define cmocka_unit_test(f)                                                                                  \
	{                                                                                                    \
#f, f, NULL, NULL                                                                            \
	}
#define cmocka_unit_test_setup_teardown(f, up, down)                                                         \
	{                                                                                                    \
#f, f, up, down                                                                              \
	}

#define fail_msg(...)                                                                                        \
	do {                                                                                                 \
		printf("# %s:%d: ", __FILE__, __LINE__);                                                     \
		printf(__VA_ARGS__);                                                                         \
		printf("\n");                                                                                \
		longjmp(shim_out, SHIM_FAILED);                                                              \
	} while (0)
#define skip()			   longjmp(shim_out, SHIM_SKIPPED)
#define fail()			   fail_msg("failed")
#define assert_true(x)		   shim_assert((x) ? true : false, #x, __FILE__, __LINE__)
#define assert_false(x)		   shim_assert((x) ? false : true, "not " #x, __FILE__, __LINE__)
#define assert_null(p)		   assert_true((p) == NULL)
#define assert_non_null(p)	   assert_true((p) != NULL)
#define assert_ptr_equal(a, b)	   assert_true((const void *)(a) == (const void *)(b))
#define assert_int_equal(a, b)	   shim_equal((int64_t)(a), (int64_t)(b), true, __FILE__, __LINE__)
#define assert_int_not_equal(a, b) shim_equal((int64_t)(a), (int64_t)(b), false, __FILE__, __LINE__)
#define assert_in_range(v, low, high)                                                                        \
	assert_true((uint64_t)(v) >= (uint64_t)(low) && (uint64_t)(v) <= (uint64_t)(high))
#define assert_string_equal(a, b)	 assert_true(strcmp(a, b) == 0)
#define assert_memory_equal(a, b, n)	 assert_true(memcmp(a, b, n) == 0)
#define assert_memory_not_equal(a, b, n) assert_true(memcmp(a, b, n) != 0)

static inline void shim_assert(bool holds, const char *what, const char *file, int line)
{
	if (holds)
		return;
	printf("# %s:%d: %s\n", file, line, what);
	longjmp(shim_out, SHIM_FAILED);
}

static inline void shim_equal(int64_t a, int64_t b, bool should, const char *file, int line)
{
	if ((a == b) == should)
		return;
	printf("# %s:%d: %" PRId64 " %s %" PRId64 "\n", file, line, a, should ? "!=" : "==", b);
	longjmp(shim_out, SHIM_FAILED);
}

/* Run one: 0, SHIM_FAILED or SHIM_SKIPPED. */
static inline int shim_run(const struct CMUnitTest *test, void **state)
{
	int how;

	if (test->set_up != NULL && test->set_up(state) != 0)
		return SHIM_FAILED;
	how = setjmp(shim_out);
	if (how == 0)
		test->run(state);
	if (test->tear_down != NULL && test->tear_down(state) != 0)
		how = SHIM_FAILED;
	return how;
}

static inline int shim_run_all(const struct CMUnitTest *tests, size_t n)
{
	int failed = 0;

	printf("1..%zu\n", n);
	for (size_t i = 0; i < n; i++) {
		void *state = NULL;
		int how = shim_run(&tests[i], &state);

		printf("%s %zu - %s%s\n", how == SHIM_FAILED ? "not ok" : "ok", i + 1, tests[i].name,
			how == SHIM_SKIPPED ? " # SKIP" : "");
		failed += how == SHIM_FAILED;
		fflush(stdout);
	}
	return failed;
}

#define cmocka_run_group_tests(tests, up, down) shim_run_all(tests, sizeof(tests) / sizeof((tests)[0]))

#endif
