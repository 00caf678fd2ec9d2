/*
 * no_memory: every allocation of a piece of work fails once, the n-th in its n-th run, ours and jansson's: the work ends with
 * ERR_NO_MEMORY, does not crash, and leaks nothing (LeakSanitizer looks at the end). The Makefile links the programs
 * test_no_memory* with --wrap; each includes this once.
 */
#ifndef OBLIVIATE_TESTS_NO_MEMORY_H
#define OBLIVIATE_TESTS_NO_MEMORY_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/err.h"

enum { NEVER = -1, RUNS_MAX = 20000 };

static int countdown = NEVER; /* allocations until the one that fails */
static bool has_failed;

static inline bool fails(void)
{
	if (countdown == NEVER || countdown-- > 0)
		return false;
	has_failed = true;
	countdown = NEVER;
	return true;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
char *__real_strdup(const char *text);

void *__wrap_malloc(size_t bytes)
{
	return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
	return fails() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
	return fails() ? NULL : __real_realloc(old, bytes);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

/* Run `work` with its n-th allocation failing, for every n that it gets to. `other`: how it may end instead. */
static inline void check_or(int (*work)(void *arg, struct err *err), void *arg, enum err_code other)
{
	struct err err = {0};
	int rc, n = 0;

	do {
		has_failed = false;
		err = (struct err){0};
		countdown = n++;
		rc = work(arg, &err);
		countdown = NEVER;
		if (has_failed && (rc == 0 || (err.code != ERR_NO_MEMORY && err.code != other)))
			fail_msg("allocation %d failed: %d %s %s: %s", n, rc, err_name(err.code), err.where,
				err.text);
	} while (has_failed && n < RUNS_MAX);
	assert_int_equal(rc, 0);
	assert_in_range(n, 2, RUNS_MAX - 1);
}

static inline void check(int (*work)(void *arg, struct err *err), void *arg)
{
	check_or(work, arg, ERR_NO_MEMORY);
}

#endif
