/*
 * tensor_list: named tensors on their way into a file, or out of one. Values are borrowed, names are owned.
 *
 * The number of tensors is given at the start; adding more is our own mistake and asserted.
 */
#ifndef OBLIVIATE_TENSOR_LIST_H
#define OBLIVIATE_TENSOR_LIST_H

#include "worker/base/real.h"
#include "worker/data/safetensors.h"

enum { TENSOR_NAME_BYTES = 160 };

/* Zero is the empty state. */
struct tensor_list {
	int n, cap;
	struct st_tensor *tensor;
	char (*name)[TENSOR_NAME_BYTES];
};

int tensor_list_init(struct tensor_list *list, int cap, struct err *err) MUST_USE;
void tensor_list_done(struct tensor_list *list);

/* A tensor [rows, columns], or [rows] where columns is 0. */
void tensor_list_add(struct tensor_list *list, int rows, int columns, const real *data, const char *name, ...)
	PRINTF(5, 6);
/* A linear map's NAME.weight [rows, columns] and NAME.bias [rows]. */
void tensor_list_add_linear(
	struct tensor_list *list, int rows, int columns, const real *w, const real *b, const char *name);

/* Write dirfd/name as safetensors, marked as PyTorch's. */
int tensor_list_write(const struct tensor_list *list, int dirfd, const char *name, struct err *err) MUST_USE;

/*
 * The way back: copy the values of list->tensor[i] from a file (`where` in errors) to to[i]. The file is
 * hostile: each must be there with dtype and shape of the list, and finite, or it is ERR_INVALID_DATA
 * "where: NAME".
 */
int tensor_list_read(const struct tensor_list *list, real *const *to, const struct st *st, const char *where,
	struct err *err) MUST_USE;

#endif
