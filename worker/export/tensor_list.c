#include "worker/export/tensor_list.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tensor_list_init(struct tensor_list *list, int cap, struct err *err)
{
	*list = (struct tensor_list){.cap = cap};
	list->tensor = calloc((size_t)cap, sizeof(*list->tensor));
	list->name = calloc((size_t)cap, sizeof(*list->name));
	return list->tensor == NULL || list->name == NULL ? err_nomem(err) : 0;
}

void tensor_list_done(struct tensor_list *list)
{
	free(list->tensor);
	free(list->name);
	*list = (struct tensor_list){0};
}

void tensor_list_add(struct tensor_list *list, int rows, int columns, const real *data, const char *name, ...)
{
	struct st_tensor *tensor = &list->tensor[list->n];
	va_list ap;

	assert(list->n < list->cap);
	va_start(ap, name);
	vsnprintf(list->name[list->n], TENSOR_NAME_BYTES, name, ap);
	va_end(ap);
	*tensor = (struct st_tensor){
		.name = list->name[list->n], .dtype = ST_REAL, .rank = columns > 0 ? 2 : 1, .data = data};
	tensor->shape[0] = (size_t)rows;
	tensor->shape[1] = (size_t)columns;
	list->n++;
}

void tensor_list_add_linear(
	struct tensor_list *list, int rows, int columns, const real *w, const real *b, const char *name)
{
	tensor_list_add(list, rows, columns, w, "%s.weight", name);
	tensor_list_add(list, rows, 0, b, "%s.bias", name);
}

int tensor_list_write(const struct tensor_list *list, int dirfd, const char *name, struct err *err)
{
	static const struct st_metadata metadata[] = {{"format", "pt"}};

	return st_write(dirfd, name, list->tensor, list->n, metadata, NELEM(metadata), err);
}

/* --- reading ---------------------------------------------------------------------------------------- */

static bool are_alike(const struct st_tensor *a, const struct st_tensor *b)
{
	if (a->dtype != b->dtype || a->rank != b->rank)
		return false;
	for (int i = 0; i < a->rank; i++)
		if (a->shape[i] != b->shape[i])
			return false;
	return true;
}

static bool are_finite(const real *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isfinite(x[i]))
			return false;
	return true;
}

static int read_one(
	real *to, const struct st_tensor *wanted, const struct st *st, const char *where, struct err *err)
{
	const struct st_tensor *found = st_find(st, wanted->name);
	size_t n = st_elements(wanted);
	char place[TENSOR_NAME_BYTES + 64];

	snprintf(place, sizeof(place), "%s: %s", where, wanted->name);
	if (found == NULL)
		return err_set(err, ERR_INVALID_DATA, place, "missing");
	if (!are_alike(found, wanted))
		return err_set(
			err, ERR_INVALID_DATA, place, "has another shape or dtype than this job needs");
	memcpy(to, found->data, n * sizeof(real));
	return are_finite(to, n) ? 0 : err_set(err, ERR_INVALID_DATA, place, "a value is NaN or infinite");
}

int tensor_list_read(const struct tensor_list *list, real *const *to, const struct st *st, const char *where,
	struct err *err)
{
	int rc = 0;

	for (int i = 0; i < list->n && rc == 0; i++)
		rc = read_one(to[i], &list->tensor[i], st, where, err);
	return rc;
}
