/*
 * safetensors: read-only view of a model file, and a writer.
 *
 *   OFFSET  SIZE  FIELD
 *        0     8  n, little-endian; n <= ST_HEADER_MAX
 *        8     n  UTF-8 JSON, first byte '{', trailing white space allowed:
 *                 name -> {"dtype", "shape", "data_offsets": [begin, end)}, optionally
 *                 "__metadata__" -> null or {string: string}
 *      8+n     -  tensor bytes, row-major, little-endian, contiguous, no holes, to the end of the file;
 *                 begin and end count from here
 *
 * The file is hostile. st_open checks everything but the values once; afterwards every st_tensor is in
 * bounds. Faults are ERR_INVALID_MODEL (ERR_UNSUPPORTED_FORMAT for a pickle under this name, ERR_NOT_FOUND
 * where there is no file), their place "FILE: byte OFFSET" or "FILE: TENSOR". The file must not be
 * truncated while it is open.
 *
 * Ownership: st_open maps the file; tensors borrow from it until st_done.
 */
#ifndef OBLIVIATE_SAFETENSORS_H
#define OBLIVIATE_SAFETENSORS_H

#include "common/err.h"
#include "common/io.h"

enum {
	ST_HEADER_MAX = 16 << 20, /* bytes */
	ST_TENSORS_MAX = 10000,
	ST_RANK_MAX = 8,
	ST_NAME_MAX = 1024, /* bytes */
};

/* In the order by which the reference writer sorts (descending). */
enum st_dtype {
	ST_BOOL,
	ST_F4,
	ST_F6_E2M3,
	ST_F6_E3M2,
	ST_U8,
	ST_I8,
	ST_F8_E5M2,
	ST_F8_E4M3,
	ST_F8_E8M0,
	ST_F8_E4M3FNUZ,
	ST_F8_E5M2FNUZ,
	ST_I16,
	ST_U16,
	ST_F16,
	ST_BF16,
	ST_I32,
	ST_U32,
	ST_F32,
	ST_C64,
	ST_F64,
	ST_I64,
	ST_U64,
	ST_DTYPES
};

/* The dtype of `real` (worker/base/real.h). */
#ifdef OBLIVIATE_DOUBLE
#define ST_REAL ST_F64
#else
#define ST_REAL ST_F32
#endif

/* A tensor, in a file that was read or to be written. */
struct st_tensor {
	const char *name;
	enum st_dtype dtype;
	int rank; /* 0: a scalar */
	size_t shape[ST_RANK_MAX];
	const void *data; /* row-major; in a file that was read aligned to nothing */
};

struct st {
	int n;
	struct st_tensor *tensor; /* [n], sorted by name */
	char *names;
	struct io_map map;
};

int st_open(struct st *out, int dirfd, const char *name, struct err *err) MUST_USE;
void st_done(struct st *st);

/* The tensor of this name, or NULL. */
const struct st_tensor *st_find(const struct st *st, const char *name);

const char *st_dtype_name(enum st_dtype dtype);
size_t st_elements(const struct st_tensor *tensor);

/* Append the value of a key of the file's metadata; nothing where it has none. */
int st_metadata_get(struct buf *out, const struct st *st, const char *key, struct err *err) MUST_USE;

struct st_metadata {
	const char *key, *value;
};

/*
 * Write dirfd/name through a temporary file. The bytes depend on names, shapes and values alone, not on
 * the order of the list: tensors are sorted as the reference does it (dtype descending, then name), the
 * header padded with spaces to eight bytes. Metadata keeps its order; full models and adapters want
 * {"format", "pt"}. Names must be unique (ERR_INTERNAL).
 */
int st_write(int dirfd, const char *name, const struct st_tensor *list, int n,
	const struct st_metadata *metadata, int metadata_n, struct err *err) MUST_USE;

#endif
