/*
 * golden: reading the known answers of this directory, and comparing with them.
 *
 * Tests run from the repository's root. What is read lives until golden_done; a missing field or file
 * fails the test at once.
 */
#ifndef OBLIVIATE_GOLDEN_H
#define OBLIVIATE_GOLDEN_H

#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/io.h"
#include "common/json.h"
#include "worker/base/real.h"

/* Results carry twelve digits; single precision keeps about seven, and sums lose one or two. */
#ifdef OBLIVIATE_DOUBLE
static const double GOLDEN_TOLERANCE = 2e-10;
#else
static const double GOLDEN_TOLERANCE = 5e-6;
#endif

enum { GOLDEN_ARRAYS_MAX = 512, GOLDEN_FILE_MAX = 1 << 20 };

/* One file and the arrays that were taken from it. */
struct golden {
	json_t *root;
	real *array[GOLDEN_ARRAYS_MAX];
	int arrays;
};

static inline void golden_open(struct golden *golden, const char *path)
{
	struct buf text = {0};
	struct err err = {0};

	*golden = (struct golden){0};
	if (io_read_file(&text, AT_FDCWD, path, GOLDEN_FILE_MAX, &err) != 0 ||
		json_parse(&golden->root, text.data, text.len, path, &err) != 0)
		fail_msg("%s: %s", err.where, err.text);
	buf_done(&text);
}

static inline void golden_done(struct golden *golden)
{
	for (int i = 0; i < golden->arrays; i++)
		free(golden->array[i]);
	json_decref(golden->root);
	*golden = (struct golden){0};
}

static inline json_t *golden_get(const json_t *object, const char *name)
{
	json_t *value = json_object_get(object, name);

	if (value == NULL)
		fail_msg("golden file without %s", name);
	return value;
}

static inline int golden_int(const json_t *object, const char *name)
{
	return (int)json_integer_value(golden_get(object, name));
}

static inline double golden_number(const json_t *object, const char *name)
{
	return json_number_value(golden_get(object, name));
}

/* A zeroed array that golden_done frees. */
static inline real *golden_zeros(struct golden *golden, size_t n)
{
	real *array = calloc(n > 0 ? n : 1, sizeof(*array));

	assert_non_null(array);
	assert_true(golden->arrays < GOLDEN_ARRAYS_MAX);
	golden->array[golden->arrays++] = array;
	return array;
}

static inline real *golden_list(struct golden *golden, const json_t *list)
{
	real *array = golden_zeros(golden, json_array_size(list));

	for (size_t i = 0; i < json_array_size(list); i++)
		array[i] = (real)json_number_value(json_array_get(list, i));
	return array;
}

static inline real *golden_array(struct golden *golden, const json_t *object, const char *name)
{
	return golden_list(golden, golden_get(object, name));
}

/* Every element within the tolerance of the list's largest magnitude. */
static inline void golden_check_list(const char *what, const real *ours, const json_t *list, double tolerance)
{
	double largest = 1e-3;

	for (size_t i = 0; i < json_array_size(list); i++)
		largest = fmax(largest, fabs(json_number_value(json_array_get(list, i))));
	for (size_t i = 0; i < json_array_size(list); i++) {
		double theirs = json_number_value(json_array_get(list, i));

		if (!(fabs((double)ours[i] - theirs) <= tolerance * largest))
			fail_msg("%s[%zu]: %.9g, known answer %.9g", what, i, (double)ours[i], theirs);
	}
}

static inline void golden_check(const json_t *object, const char *name, const real *ours)
{
	golden_check_list(name, ours, golden_get(object, name), GOLDEN_TOLERANCE);
}

static inline void golden_check_number(const char *what, double ours, double theirs, double tolerance)
{
	if (!(fabs(ours - theirs) <= tolerance * fmax(1, fabs(theirs))))
		fail_msg("%s: %.12g, known answer %.12g", what, ours, theirs);
}

#endif
