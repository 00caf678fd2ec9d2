#include "worker/data/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "common/json.h"
#include "common/utf8.h"
#include "worker/data/cursor.h"

/* A tensor's entry has at most 14 commas and brackets, and may have members that nobody reads. */
enum { HEADER_VALUES_MAX = 32 * ST_TENSORS_MAX };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are used as they lie in the file");

static const struct {
	const char *name;
	uint8_t bits;
} DTYPES[ST_DTYPES] = {
	[ST_BOOL] = {"BOOL", 8},
	[ST_F4] = {"F4", 4},
	[ST_F6_E2M3] = {"F6_E2M3", 6},
	[ST_F6_E3M2] = {"F6_E3M2", 6},
	[ST_U8] = {"U8", 8},
	[ST_I8] = {"I8", 8},
	[ST_F8_E5M2] = {"F8_E5M2", 8},
	[ST_F8_E4M3] = {"F8_E4M3", 8},
	[ST_F8_E8M0] = {"F8_E8M0", 8},
	[ST_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
	[ST_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
	[ST_I16] = {"I16", 16},
	[ST_U16] = {"U16", 16},
	[ST_F16] = {"F16", 16},
	[ST_BF16] = {"BF16", 16},
	[ST_I32] = {"I32", 32},
	[ST_U32] = {"U32", 32},
	[ST_F32] = {"F32", 32},
	[ST_C64] = {"C64", 64},
	[ST_F64] = {"F64", 64},
	[ST_I64] = {"I64", 64},
	[ST_U64] = {"U64", 64},
};

const char *st_dtype_name(enum st_dtype dtype)
{
	return DTYPES[dtype].name;
}

size_t st_elements(const struct st_tensor *tensor)
{
	size_t elements = 1;

	for (int i = 0; i < tensor->rank; i++)
		elements *= tensor->shape[i];
	return elements;
}

/* Bytes of the tensor's values; false when they overflow or end inside a byte. */
static bool tensor_bytes(size_t *bytes, const struct st_tensor *tensor)
{
	size_t elements = 1, bits;

	for (int i = 0; i < tensor->rank; i++)
		if (!size_mul(&elements, elements, tensor->shape[i]))
			return false;
	if (!size_mul(&bits, elements, DTYPES[tensor->dtype].bits) || bits % 8 != 0)
		return false;
	*bytes = bits / 8;
	return true;
}

/* --- reading ------------------------------------------------------------------------------------------ */

/* A tensor while its place is checked. */
struct span {
	struct st_tensor tensor;
	size_t begin, end;
};

struct reader {
	const char *file;
	const char *json; /* the header */
	size_t json_len;
	const uint8_t *data; /* first byte after the header */
	size_t data_len;
	size_t data_offset;
	struct span *span;
	int n;
};

static int refuse_byte(struct err *err, const char *file, size_t offset, const char *why)
{
	char where[sizeof(err->where)];

	snprintf(where, sizeof(where), "%s: byte %zu", file, offset);
	return err_set(err, ERR_INVALID_MODEL, where, "%s", why);
}

static int refuse_tensor(struct err *err, const struct reader *reader, const char *name, const char *why)
{
	char where[sizeof(err->where)];

	snprintf(
		where, sizeof(where), "%s: %.*s", reader->file, (int)utf8_cut(name, strlen(name), 200), name);
	return err_set(err, ERR_INVALID_MODEL, where, "%s", why);
}

static bool looks_pickled(const uint8_t *data, size_t len)
{
	if (len < 4)
		return false;
	return memcmp(data, "PK\3\4", 4) == 0 || (data[0] == 0x80 && data[1] >= 2 && data[1] <= 5);
}

/* Find the header's JSON and the bytes after it. */
static int read_frame(struct reader *reader, const struct io_map *map, struct err *err)
{
	struct cursor cursor;
	uint64_t n;

	cursor_init(&cursor, map->data, map->len);
	n = cursor_u64(&cursor);
	if (cursor.failed)
		return refuse_byte(err, reader->file, map->len, "the file ends within its first eight bytes");
	if (n > ST_HEADER_MAX && looks_pickled(map->data, map->len))
		return err_set(err, ERR_UNSUPPORTED_FORMAT, reader->file,
			"this is a pickled PyTorch checkpoint, not safetensors");
	if (n > ST_HEADER_MAX || n < 2)
		return refuse_byte(err, reader->file, 0, "the header's length is out of range");
	reader->json = (const char *)cursor_bytes(&cursor, n);
	reader->json_len = n;
	if (cursor.failed)
		return refuse_byte(err, reader->file, 0, "the header is longer than the file");
	if (reader->json[0] != '{')
		return refuse_byte(err, reader->file, 8, "the header does not begin with '{'");
	if (!json_is_bounded(reader->json, n, HEADER_VALUES_MAX))
		return refuse_byte(err, reader->file, 8, "the header has too many values");
	reader->data = cursor.at;
	reader->data_len = cursor_left(&cursor);
	reader->data_offset = cursor_offset(&cursor);
	return 0;
}

static int check_metadata(const struct reader *reader, json_t *metadata, struct err *err)
{
	const char *key;
	json_t *value;

	if (json_is_null(metadata))
		return 0;
	if (!json_is_object(metadata))
		return refuse_tensor(err, reader, "__metadata__", "not an object");
	json_object_foreach(metadata, key, value)
	{
		if (!json_is_string(value))
			return refuse_tensor(err, reader, "__metadata__", "a value is not a string");
	}
	return 0;
}

/* A JSON integer >= 0; 2.0 and 2e0 are none. */
static bool read_size(size_t *out, const json_t *value)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*out = (size_t)json_integer_value(value);
	return true;
}

static bool read_dtype(enum st_dtype *out, const json_t *value)
{
	if (!json_is_string(value))
		return false;
	for (int i = 0; i < ST_DTYPES; i++) {
		if (strcmp(json_string_value(value), DTYPES[i].name) == 0) {
			*out = (enum st_dtype)i;
			return true;
		}
	}
	return false;
}

static bool read_shape(struct st_tensor *out, const json_t *shape)
{
	if (!json_is_array(shape) || json_array_size(shape) > ST_RANK_MAX)
		return false;
	out->rank = (int)json_array_size(shape);
	for (int i = 0; i < out->rank; i++)
		if (!read_size(&out->shape[i], json_array_get(shape, (size_t)i)))
			return false;
	return true;
}

static bool read_offsets(struct span *out, const json_t *offsets)
{
	return json_is_array(offsets) && json_array_size(offsets) == 2 &&
	       read_size(&out->begin, json_array_get(offsets, 0)) &&
	       read_size(&out->end, json_array_get(offsets, 1));
}

static int read_tensor(
	struct span *out, const struct reader *reader, const char *name, json_t *entry, struct err *err)
{
	size_t bytes;

	*out = (struct span){.tensor.name = name};
	if (strlen(name) > ST_NAME_MAX)
		return refuse_tensor(err, reader, name, "the name is too long");
	if (!json_is_object(entry))
		return refuse_tensor(err, reader, name, "not an object");
	if (!read_dtype(&out->tensor.dtype, json_object_get(entry, "dtype")))
		return refuse_tensor(err, reader, name, "dtype is missing or unknown");
	if (!read_shape(&out->tensor, json_object_get(entry, "shape")))
		return refuse_tensor(err, reader, name, "shape is no list of at most 8 integers >= 0");
	if (!read_offsets(out, json_object_get(entry, "data_offsets")))
		return refuse_tensor(err, reader, name, "data_offsets is no pair of integers >= 0");
	if (!tensor_bytes(&bytes, &out->tensor))
		return refuse_tensor(err, reader, name, "the shape has no whole number of bytes");
	if (out->begin > out->end || out->end > reader->data_len)
		return refuse_tensor(err, reader, name, "data_offsets lie outside the file");
	if (out->end - out->begin != bytes)
		return refuse_tensor(err, reader, name, "data_offsets do not fit shape and dtype");
	out->tensor.data = reader->data + out->begin;
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	return x->end < y->end ? -1 : x->end > y->end;
}

static int by_name(const void *a, const void *b)
{
	const struct st_tensor *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* In order of place, each tensor begins where the one before it ends, and the last ends with the file. */
static int check_places(struct reader *reader, struct err *err)
{
	size_t at = 0;

	if (reader->n > 0)
		qsort(reader->span, (size_t)reader->n, sizeof(reader->span[0]), by_place);
	for (int i = 0; i < reader->n; i++) {
		const struct span *span = &reader->span[i];

		if (span->begin != at)
			return refuse_tensor(err, reader, span->tensor.name,
				span->begin > at ? "a hole lies before its bytes"
						 : "its bytes overlap another's");
		at = span->end;
	}
	if (at != reader->data_len)
		return refuse_byte(
			err, reader->file, reader->data_offset + at, "bytes that belong to no tensor");
	return 0;
}

static int read_entries(struct reader *reader, json_t *header, struct err *err)
{
	size_t n = json_object_size(header);
	const char *name;
	json_t *entry;

	if (n > ST_TENSORS_MAX + 1)
		return refuse_byte(err, reader->file, 8, "more than 10000 tensors");
	reader->span = calloc(n + 1, sizeof(reader->span[0]));
	if (reader->span == NULL)
		return err_nomem(err);
	json_object_foreach(header, name, entry)
	{
		int rc;

		if (strcmp(name, "__metadata__") == 0)
			rc = check_metadata(reader, entry, err);
		else
			rc = read_tensor(&reader->span[reader->n++], reader, name, entry, err);
		if (rc != 0)
			return rc;
	}
	if (reader->n > ST_TENSORS_MAX)
		return refuse_byte(err, reader->file, 8, "more than 10000 tensors");
	return check_places(reader, err);
}

/* The spans as the sorted list of tensors that the caller sees, with names of their own. */
static int keep_tensors(struct st *out, const struct reader *reader, struct err *err)
{
	struct buf names = {0};
	const char *name;

	for (int i = 0; i < reader->n; i++)
		buf_add(&names, reader->span[i].tensor.name, strlen(reader->span[i].tensor.name) + 1);
	buf_add(&names, "", 1);
	out->names = buf_take(&names);
	out->tensor = calloc((size_t)reader->n + 1, sizeof(out->tensor[0]));
	if (out->names == NULL || out->tensor == NULL)
		return err_nomem(err);
	out->n = reader->n;
	name = out->names;
	for (int i = 0; i < reader->n; i++) {
		out->tensor[i] = reader->span[i].tensor;
		out->tensor[i].name = name;
		name += strlen(name) + 1;
	}
	if (out->n > 0)
		qsort(out->tensor, (size_t)out->n, sizeof(out->tensor[0]), by_name);
	return 0;
}

int st_open(struct st *out, int dirfd, const char *name, struct err *err)
{
	struct reader reader = {.file = name};
	json_t *header = NULL;
	int rc;

	*out = (struct st){0};
	rc = io_map_open(&out->map, dirfd, name, err);
	if (rc == 0)
		rc = read_frame(&reader, &out->map, err);
	if (rc == 0)
		rc = json_parse(&header, reader.json, reader.json_len, name, err);
	if (rc == -ERR_INVALID_JSON)
		rc = err_as(err, ERR_INVALID_MODEL);
	if (rc == 0)
		rc = read_entries(&reader, header, err);
	if (rc == 0)
		rc = keep_tensors(out, &reader, err);
	free(reader.span);
	json_decref(header);
	if (rc != 0)
		st_done(out);
	return rc;
}

void st_done(struct st *st)
{
	free(st->tensor);
	free(st->names);
	io_map_done(&st->map);
	*st = (struct st){0};
}

const struct st_tensor *st_find(const struct st *st, const char *name)
{
	struct st_tensor key = {.name = name};

	if (st->n == 0)
		return NULL;
	return bsearch(&key, st->tensor, (size_t)st->n, sizeof(st->tensor[0]), by_name);
}

/* --- writing ------------------------------------------------------------------------------------------ */

static int by_dtype_and_name(const void *a, const void *b)
{
	const struct st_tensor *x = a, *y = b;

	if (x->dtype != y->dtype)
		return x->dtype > y->dtype ? -1 : 1;
	return strcmp(x->name, y->name);
}

int st_metadata_get(struct buf *out, const struct st *st, const char *key, struct err *err)
{
	uint64_t len;
	json_t *header, *value;
	int rc;

	memcpy(&len, st->map.data, sizeof(len));
	rc = json_parse(&header, (const char *)st->map.data + sizeof(len), (size_t)len, "header", err);
	if (rc != 0)
		return rc;
	value = json_object_get(json_object_get(header, "__metadata__"), key);
	if (json_is_string(value))
		buf_add(out, json_string_value(value), json_string_length(value));
	json_decref(header);
	return out->failed ? err_nomem(err) : 0;
}

static json_t *metadata_json(const struct st_metadata *metadata, int n)
{
	json_t *object = json_object();

	for (int i = 0; i < n; i++)
		json_object_set_new(object, metadata[i].key, json_string(metadata[i].value));
	return object;
}

/* One entry of the header; *at moves past its bytes. NULL when there is no memory. */
static json_t *tensor_json(const struct st_tensor *tensor, size_t bytes, size_t *at)
{
	json_t *shape = json_array();
	size_t begin = *at;

	for (int i = 0; i < tensor->rank; i++)
		json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
	*at += bytes;
	return json_pack("{s:s, s:o, s:[I, I]}", "dtype", DTYPES[tensor->dtype].name, "shape", shape,
		"data_offsets", (json_int_t)begin, (json_int_t)*at);
}

/* Append the eight bytes of length and the padded header; part[i + 1] becomes tensor i's bytes. */
static int write_header(struct buf *head, struct iovec *part, const struct st_tensor *sorted, int n,
	const struct st_metadata *metadata, int metadata_n, struct err *err)
{
	json_t *header = json_object();
	size_t at = 0, bytes;
	uint64_t len = 0;
	int rc = 0;

	if (metadata_n > 0)
		json_object_set_new(header, "__metadata__", metadata_json(metadata, metadata_n));
	for (int i = 0; i < n && rc == 0; i++) {
		if (!tensor_bytes(&bytes, &sorted[i]) || json_object_get(header, sorted[i].name) != NULL)
			rc = err_set(err, ERR_INTERNAL, sorted[i].name,
				"two tensors of one name, or no such shape");
		else if (json_object_set_new(header, sorted[i].name, tensor_json(&sorted[i], bytes, &at)) !=
			 0)
			rc = err_nomem(err);
		else
			part[i + 1] = (struct iovec){(void *)(uintptr_t)sorted[i].data, bytes};
	}
	buf_add(head, &len, sizeof(len));
	json_write(head, header);
	json_decref(header);
	while (head->len % 8 != 0 && !head->failed)
		buf_str(head, " ");
	if (rc == 0 && head->failed)
		rc = err_nomem(err);
	if (rc != 0)
		return rc;
	len = head->len - sizeof(len);
	memcpy(head->data, &len, sizeof(len));
	part[0] = (struct iovec){head->data, head->len};
	return 0;
}

int st_write(int dirfd, const char *name, const struct st_tensor *list, int n,
	const struct st_metadata *metadata, int metadata_n, struct err *err)
{
	struct st_tensor *sorted = calloc((size_t)n + 1, sizeof(*sorted));
	struct iovec *part = calloc((size_t)n + 1, sizeof(*part));
	struct buf head = {0};
	int rc;

	if (sorted == NULL || part == NULL) {
		rc = err_nomem(err);
		goto done;
	}
	if (n > 0) {
		memcpy(sorted, list, (size_t)n * sizeof(*sorted));
		qsort(sorted, (size_t)n, sizeof(*sorted), by_dtype_and_name);
	}
	rc = write_header(&head, part, sorted, n, metadata, metadata_n, err);
	if (rc == 0)
		rc = io_write_parts(dirfd, name, part, n + 1, err);
done:
	buf_done(&head);
	free(part);
	free(sorted);
	return rc;
}
