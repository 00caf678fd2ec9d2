#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/buf.h"
#include "tests/unit/scratch.h"
#include "worker/data/safetensors.h"

struct fixture {
	struct scratch scratch;
	struct st st;
	struct err err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	scratch_init(&f->scratch);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	st_done(&f->st);
	scratch_done(&f->scratch);
	free(f);
	return 0;
}

/* A file of this header and data_len bytes 0, 1, 2, ... */
static int open_file(struct fixture *f, const char *header, size_t data_len)
{
	struct buf file = {0};
	uint64_t n = strlen(header);
	int rc;

	buf_add(&file, &n, 8);
	buf_str(&file, header);
	for (size_t i = 0; i < data_len; i++)
		buf_add(&file, &(uint8_t){(uint8_t)i}, 1);
	scratch_write(&f->scratch, "m", file.data, file.len);
	buf_done(&file);
	st_done(&f->st);
	rc = st_open(&f->st, f->scratch.fd, "m", &f->err);
	return rc;
}

static int open_bytes(struct fixture *f, const void *data, size_t len)
{
	scratch_write(&f->scratch, "m", data, len);
	return st_open(&f->st, f->scratch.fd, "m", &f->err);
}

static void test_tensors_are_found_by_name(void **state)
{
	struct fixture *f = *state;
	const struct st_tensor *tensor;

	assert_int_equal(open_file(f,
				 "{\"__metadata__\":{\"format\":\"pt\"},"
				 "\"z\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
				 "\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[24,25]},"
				 "\"m\":{\"dtype\":\"I64\",\"shape\":[0,9],\"data_offsets\":[24,24]}}",
				 25),
		0);
	assert_int_equal(f->st.n, 3);
	tensor = st_find(&f->st, "z");
	assert_int_equal(tensor->dtype, ST_F32);
	assert_int_equal(tensor->rank, 2);
	assert_int_equal(st_elements(tensor), 6);
	assert_int_equal(((const uint8_t *)tensor->data)[23], 23);
	assert_int_equal(*(const uint8_t *)st_find(&f->st, "a")->data, 24);
	assert_int_equal(st_elements(st_find(&f->st, "a")), 1);
	assert_int_equal(st_elements(st_find(&f->st, "m")), 0);
	assert_null(st_find(&f->st, "b"));
	assert_null(st_find(&f->st, "__metadata__"));
}

static void test_what_the_format_leaves_open_is_accepted(void **state)
{
	static const struct {
		const char *header;
		size_t data_len;
	} FILES[] = {
		{"{}", 0},
		{"{}  \n\t", 0},
		{"{\"__metadata__\":null}", 0},
		{"{\"__metadata__\":{}}", 0},
		{"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"more\":[1,{}]}}", 1},
		{"{\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1},
		{"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1},
	};

	for (size_t i = 0; i < NELEM(FILES); i++)
		assert_int_equal(open_file(*state, FILES[i].header, FILES[i].data_len), 0);
}

#define A(rest) "{\"a\":{" rest "}}"

/* Row by row what is refused of design/formats.md's table, and what a reader must not believe. */
static void test_headers_that_lie_are_refused(void **state)
{
	static const struct {
		const char *header;
		size_t data_len;
		const char *where, *why;
	} FILES[] = {
		{" {}", 0, "m: byte 8", "'{'"},
		{"\xef\xbb\xbf{}", 0, "m: byte 8", "'{'"},
		{"[]", 0, "m: byte 8", "'{'"},
		{"{", 0, "m: byte 0", "length"},
		{"{}x", 0, "m:1:3", ""},
		{"{\"\\ud800\":{}}", 0, "m:1:", ""},
		{"{\"\\u0000\":{}}", 0, "m:1:", ""},
		{"{\"\xff\":{}}", 0, "m:1:", ""},
		{A("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]"), 0, "m: a", "outside the file"},
		{A("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]"), 2, "m: byte 62", "no tensor"},
		{A("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]"), 2, "m: a", "hole"},
		{A("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]"), 1, "m: a", "outside"},
		{A("\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,1]"), 1, "m: a", "do not fit"},
		{A("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,1]"), 1, "m: a", "do not fit"},
		{A("\"dtype\":\"F4\",\"shape\":[1],\"data_offsets\":[0,1]"), 1, "m: a", "whole number"},
		{A("\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, "m: a", "dtype"},
		{A("\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]"), 4, "m: a", "dtype"},
		{A("\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]"), 4, "m: a", "dtype"},
		{A("\"shape\":[1],\"data_offsets\":[0,4]"), 4, "m: a", "dtype"},
		{A("\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]"), 1, "m: a", "shape"},
		{A("\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]"), 1, "m: a", "shape"},
		{A("\"dtype\":\"U8\",\"shape\":[1e0],\"data_offsets\":[0,1]"), 1, "m: a", "shape"},
		{A("\"dtype\":\"U8\",\"shape\":[\"1\"],\"data_offsets\":[0,1]"), 1, "m: a", "shape"},
		{A("\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]"), 1, "m: a", "shape"},
		{A("\"dtype\":\"U8\",\"data_offsets\":[0,1]"), 1, "m: a", "shape"},
		{A("\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]"), 1, "m: a",
			"shape"},
		{A("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]"), 1, "m: a", "pair"},
		{A("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]"), 1, "m: a", "pair"},
		{A("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]"), 1, "m: a", "pair"},
		{A("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1.0]"), 1, "m: a", "pair"},
		{A("\"dtype\":\"U8\",\"shape\":[1]"), 1, "m: a", "pair"},
		{A("\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"), 0, "m: a",
			"whole"},
		{A("\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]"), 4, "m: a",
			"whole"},
		{A("\"dtype\":\"U8\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,1]"), 1,
			"m:1:", "duplicate"},
		{"{\"a\":1}", 0, "m: a", "object"},
		{"{\"__metadata__\":{\"a\":1}}", 0, "m: __metadata__", "string"},
		{"{\"__metadata__\":[]}", 0, "m: __metadata__", "object"},
		{"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
		 "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
			1, "m:1:", "duplicate"},
		{"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
		 "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
			3, "m: b", "overlap"},
		{"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
		 "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}",
			3, "m: b", "hole"},
		{"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
		 "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
			1, "m: ", "overlap"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < NELEM(FILES); i++) {
		assert_int_equal(open_file(f, FILES[i].header, FILES[i].data_len), -ERR_INVALID_MODEL);
		assert_non_null(strstr(f->err.text, FILES[i].why));
		assert_int_equal(strncmp(f->err.where, FILES[i].where, strlen(FILES[i].where)), 0);
		assert_null(f->st.map.data);
	}
}

static void test_lengths_that_lie_are_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(open_bytes(f, "", 0), -ERR_INVALID_MODEL);
	assert_int_equal(open_bytes(f, "\2\0\0\0\0\0\0", 7), -ERR_INVALID_MODEL);
	assert_int_equal(open_bytes(f, "\3\0\0\0\0\0\0\0{}", 10), -ERR_INVALID_MODEL);
	assert_int_equal(open_bytes(f, "\0\0\0\0\0\0\0\0{}", 10), -ERR_INVALID_MODEL);
	assert_int_equal(open_bytes(f, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), -ERR_INVALID_MODEL);
	assert_int_equal(open_bytes(f, "\1\0\0\1\0\0\0\0{}", 10), -ERR_INVALID_MODEL);
	assert_string_equal(f->err.where, "m: byte 0");
}

static void test_a_pickle_is_called_by_its_name(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(open_bytes(f, "PK\3\4\24\0\0\0\0\0", 10), -ERR_UNSUPPORTED_FORMAT);
	assert_int_equal(open_bytes(f, "\x80\x02}q\1.....", 10), -ERR_UNSUPPORTED_FORMAT);
}

static void test_no_file_is_not_found(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(st_open(&f->st, f->scratch.fd, "none", &f->err), -ERR_NOT_FOUND);
}

static void test_names_and_tensors_have_a_maximum(void **state)
{
	struct fixture *f = *state;
	struct buf header = {0};

	buf_printf(&header, "{\"%01024d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 1);
	assert_int_equal(open_file(f, header.data, 0), 0);
	buf_reset(&header);
	buf_printf(&header, "{\"%01025d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 1);
	assert_int_equal(open_file(f, header.data, 0), -ERR_INVALID_MODEL);
	assert_non_null(strstr(f->err.text, "too long"));
	assert_true(strlen(f->err.where) < 250);
	for (int n = ST_TENSORS_MAX; n <= ST_TENSORS_MAX + 1; n++) {
		buf_reset(&header);
		for (int i = 0; i < n; i++)
			buf_printf(&header,
				"%c\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
				i == 0 ? '{' : ',', i);
		buf_str(&header, "}");
		assert_int_equal(open_file(f, header.data, 0), n > ST_TENSORS_MAX ? -ERR_INVALID_MODEL : 0);
	}
	assert_non_null(strstr(f->err.text, "10000"));
	buf_done(&header);
}

static void test_a_header_of_brackets_is_refused_unparsed(void **state)
{
	struct fixture *f = *state;
	struct buf header = {0};

	buf_str(&header, "{\"a\":[");
	for (int i = 0; i < 200000; i++)
		buf_str(&header, "[],");
	buf_str(&header, "[]]}");
	assert_int_equal(open_file(f, header.data, 0), -ERR_INVALID_MODEL);
	assert_non_null(strstr(f->err.text, "too many values"));
	buf_done(&header);
}

/* --- writer ------------------------------------------------------------------------------------------- */

static const float B[3] = {0, 1, 2}, ZEROS[4], SCALAR[1] = {1.5};
static const int64_t IDS[2] = {0, 1};
static const struct st_metadata FORMAT_PT[] = {{"format", "pt"}};

static const struct st_tensor LIST[] = {
	{"b", ST_F32, 1, {3}, B},
	{"a\"x", ST_F32, 2, {2, 2}, ZEROS},
	{"\xc3\xa9", ST_F32, 2, {0, 5}, ZEROS},
	{"i", ST_I64, 1, {2}, IDS},
	{"s", ST_F32, 0, {0}, SCALAR},
};

/* What safetensors 0.8.0 writes for LIST. */
static const char REFERENCE[] =
	"\x40\x01\0\0\0\0\0\0"
	"{\"__metadata__\":{\"format\":\"pt\"},\"i\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]"
	"},"
	"\"a\\\"x\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[16,32]},"
	"\"b\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[32,44]},"
	"\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[44,48]},"
	"\"\xc3\xa9\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[48,48]}}       "
	"\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x80?\0\0\0@\0\0\xc0?";

static void assert_file_is(const struct fixture *f, const char *name, const char *want, size_t len)
{
	struct buf file = {0};

	assert_int_equal(io_read_file(&file, f->scratch.fd, name, 1 << 20, NULL), 0);
	assert_int_equal(file.len, len);
	assert_memory_equal(file.data, want, len);
	buf_done(&file);
}

static void test_the_writer_writes_what_the_reference_writes(void **state)
{
	struct fixture *f = *state;
	struct st_tensor turned[NELEM(LIST)];

	assert_int_equal(st_write(f->scratch.fd, "w", LIST, NELEM(LIST), FORMAT_PT, 1, &f->err), 0);
	assert_file_is(f, "w", REFERENCE, sizeof(REFERENCE) - 1);
	for (size_t i = 0; i < NELEM(LIST); i++)
		turned[i] = LIST[NELEM(LIST) - 1 - i];
	assert_int_equal(st_write(f->scratch.fd, "w", turned, NELEM(LIST), FORMAT_PT, 1, &f->err), 0);
	assert_file_is(f, "w", REFERENCE, sizeof(REFERENCE) - 1);
}

static void test_what_is_written_is_read(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(st_write(f->scratch.fd, "m", LIST, NELEM(LIST), NULL, 0, &f->err), 0);
	assert_int_equal(st_open(&f->st, f->scratch.fd, "m", &f->err), 0);
	assert_int_equal(f->st.n, NELEM(LIST));
	for (size_t i = 0; i < NELEM(LIST); i++) {
		const struct st_tensor *tensor = st_find(&f->st, LIST[i].name);

		assert_non_null(tensor);
		assert_int_equal(tensor->dtype, LIST[i].dtype);
		assert_int_equal(tensor->rank, LIST[i].rank);
		assert_memory_equal(tensor->data, LIST[i].data, st_elements(tensor) * (i == 3 ? 8 : 4));
	}
}

static void test_an_empty_list_is_a_file_without_tensors(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(st_write(f->scratch.fd, "w", NULL, 0, NULL, 0, &f->err), 0);
	assert_file_is(f, "w", "\10\0\0\0\0\0\0\0{}      ", 16);
}

static void test_two_tensors_of_one_name_are_our_own_mistake(void **state)
{
	struct fixture *f = *state;
	struct st_tensor twice[] = {LIST[0], LIST[0]};

	assert_int_equal(st_write(f->scratch.fd, "w", twice, 2, NULL, 0, &f->err), -ERR_INTERNAL);
	assert_int_equal(faccessat(f->scratch.fd, "w", F_OK, 0), -1);
}

static void test_a_failed_write_leaves_the_old_file(void **state)
{
	struct fixture *f = *state;

	scratch_write_text(&f->scratch, "w", "old");
	mkdirat(f->scratch.fd, "w.tmp", 0700); /* where the temporary file would be */
	assert_int_equal(st_write(f->scratch.fd, "w", LIST, NELEM(LIST), NULL, 0, &f->err), -ERR_IO);
	assert_file_is(f, "w", "old", 3);
	unlinkat(f->scratch.fd, "w.tmp", AT_REMOVEDIR);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_tensors_are_found_by_name),
		CASE(test_what_the_format_leaves_open_is_accepted),
		CASE(test_headers_that_lie_are_refused),
		CASE(test_lengths_that_lie_are_refused),
		CASE(test_a_pickle_is_called_by_its_name),
		CASE(test_no_file_is_not_found),
		CASE(test_names_and_tensors_have_a_maximum),
		CASE(test_a_header_of_brackets_is_refused_unparsed),
		CASE(test_the_writer_writes_what_the_reference_writes),
		CASE(test_what_is_written_is_read),
		CASE(test_an_empty_list_is_a_file_without_tensors),
		CASE(test_two_tensors_of_one_name_are_our_own_mistake),
		CASE(test_a_failed_write_leaves_the_old_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
