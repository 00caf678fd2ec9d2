/*
 * numbers: seeded random arrays and comparisons, for tests of the numerics.
 *
 * Arrays have exactly the size that was asked for, so that ASan sees the first element too many. They live
 * until numbers_free, which frees all of them.
 */
#ifndef OBLIVIATE_TESTS_NUMBERS_H
#define OBLIVIATE_TESTS_NUMBERS_H

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/base/real.h"
#include "worker/base/rng.h"

enum { NUMBERS_MAX = 4096 };

static void *numbers_memory[NUMBERS_MAX];
static int numbers_count;
static uint64_t numbers_stream;

static inline void *zeros_of(size_t n, size_t bytes)
{
	void *memory = calloc(n, bytes);

	assert_true(n == 0 || memory != NULL);
	assert_true(numbers_count < NUMBERS_MAX);
	numbers_memory[numbers_count++] = memory;
	return memory;
}

static inline real *zeros(size_t n)
{
	return zeros_of(n, sizeof(real));
}

/* Standard normal times scale. Every call draws anew. */
static inline void fill_normal(real *x, size_t n, double scale)
{
	uint64_t key = rng_key(numbers_stream++, 1);

	for (size_t i = 0; i < n; i++)
		x[i] = (real)(scale * rng_normal(key, i));
}

static inline real *normals(size_t n, double scale)
{
	real *x = zeros(n);

	fill_normal(x, n, scale);
	return x;
}

static inline real *copy_of(const real *x, size_t n)
{
	real *y = zeros(n);

	memcpy(y, x, n * sizeof(real));
	return y;
}

static inline void numbers_free(void)
{
	while (numbers_count > 0)
		free(numbers_memory[--numbers_count]);
	numbers_stream = 0;
}

/* |ours - theirs| <= tolerance, and not when either is no number. */
static inline void assert_near(const char *what, size_t i, double ours, double theirs, double tolerance)
{
	if (!(fabs(ours - theirs) <= tolerance))
		fail_msg("%s[%zu]: %.9g, should be %.9g (within %.2g)", what, i, ours, theirs, tolerance);
}

static inline void assert_all_near(
	const char *what, const real *ours, const double *theirs, size_t n, double tolerance)
{
	for (size_t i = 0; i < n; i++)
		assert_near(what, i, (double)ours[i], theirs[i], tolerance);
}

static inline void assert_same_bits(const char *what, const real *a, const real *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(&a[i], &b[i], sizeof(real)) != 0)
			fail_msg("%s[%zu]: %.9g and %.9g differ", what, i, (double)a[i], (double)b[i]);
}

/*
 * Central differences: `gradient` of loss(arg) by the n elements of x, each `stride`-th of them. The loss is
 * smooth and computed in double; relative to the largest of all gradients, errors are below 1e-8.
 */
typedef double loss_fn(void *arg);
static inline void check_gradient(const char *what, loss_fn *loss, void *arg, real *x, const real *gradient,
	size_t n, size_t stride, double tolerance)
{
	static const real STEP = (real)1e-5;
	double largest = 0.1;

	for (size_t i = 0; i < n; i++)
		largest = fmax(largest, fabs((double)gradient[i]));
	for (size_t i = 0; i < n; i += stride) {
		real kept = x[i];
		double above, below;

		x[i] = kept + STEP;
		above = loss(arg);
		x[i] = kept - STEP;
		below = loss(arg);
		x[i] = kept;
		assert_near(what, i, (double)gradient[i], (above - below) / (2 * (double)STEP),
			tolerance * largest);
	}
}

#endif
