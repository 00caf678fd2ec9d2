#include "worker/export/tensor_list.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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
