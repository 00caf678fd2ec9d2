#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <zip.h>

#include "common/io.h"
#include "tests/unit/scratch.h"
#include "worker/export/torch_file.h"

static const real matrix[6] = {1, 2, 3, 4, 5, 6}, vector[3] = {-1, 0, 1};

static struct scratch scratch;

static int start(void **state)
{
	(void)state;
	scratch_init(&scratch);
	return 0;
}

static int end(void **state)
{
	(void)state;
	scratch_done(&scratch);
	return 0;
}

static zip_t *open_zip(const char *name)
{
	char path[128];
	zip_t *zip;

	snprintf(path, sizeof(path), "%s/%s", scratch.path, name);
	zip = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, NULL);
	assert_non_null(zip);
	return zip;
}

static void two_tensors(struct tensor_list *list)
{
	struct err err;

	assert_int_equal(tensor_list_init(list, 3, &err), 0);
	tensor_list_add_linear(list, 2, 3, matrix, vector, "dense");
	list->tensor[1].shape[0] = 3; /* the vector's own length */
}

static void write_list(const char *name, const struct tensor_list *list)
{
	struct err err = {0};

	if (torch_file_write(scratch.fd, name, list, &err) != 0)
		fail_msg("%s: %s", err.where, err.text);
}

static struct buf contents(const char *name)
{
	struct buf out = {0};
	struct err err;

	assert_int_equal(io_read_file(&out, scratch.fd, name, 1 << 20, &err), 0);
	return out;
}

/* As another program reads it: entry i has this name and these bytes (libzip checks the CRC). */
static void assert_entry(zip_t *zip, zip_uint64_t i, const char *name, const void *data, size_t n)
{
	zip_stat_t stat;
	zip_file_t *file;
	char got[256];

	assert_int_equal(zip_stat_index(zip, i, 0, &stat), 0);
	assert_string_equal(stat.name, name);
	assert_int_equal(stat.comp_method, ZIP_CM_STORE);
	assert_int_equal(stat.size, n);
	file = zip_fopen_index(zip, i, 0);
	assert_non_null(file);
	assert_int_equal(zip_fread(file, got, sizeof(got)), n);
	assert_int_equal(zip_fread(file, got, 1), 0);
	assert_int_equal(zip_fclose(file), 0);
	assert_memory_equal(got, data, n);
}

static void test_archive_has_pytorchs_entries(void **state)
{
	struct tensor_list list;
	zip_t *zip;
	zip_stat_t stat;

	two_tensors(&list);
	write_list("x.bin", &list);
	zip = open_zip("x.bin");
	assert_int_equal(zip_get_num_entries(zip, 0), 5);
	assert_int_equal(zip_stat_index(zip, 0, 0, &stat), 0);
	assert_string_equal(stat.name, "archive/data.pkl");
	assert_entry(zip, 1, "archive/byteorder", "little", 6);
	assert_entry(zip, 2, "archive/data/0", matrix, sizeof(matrix));
	assert_entry(zip, 3, "archive/data/1", vector, sizeof(vector));
	assert_entry(zip, 4, "archive/version", "3\n", 2);
	zip_close(zip);
	tensor_list_done(&list);
}

static void test_values_lie_at_multiples_of_64(void **state)
{
	struct tensor_list list;
	struct buf file;
	const char *found;

	two_tensors(&list);
	write_list("x.bin", &list);
	file = contents("x.bin");
	found = memmem(file.data, file.len, matrix, sizeof(matrix));
	assert_non_null(found);
	assert_int_equal((found - file.data) % 64, 0);
	found = memmem(file.data, file.len, vector, sizeof(vector));
	assert_non_null(found);
	assert_int_equal((found - file.data) % 64, 0);
	buf_done(&file);
	tensor_list_done(&list);
}

static void test_pickle_names_no_global_but_three(void **state)
{
	static const char *const known[] = {"ccollections\nOrderedDict\n",
		"ctorch._utils\n_rebuild_tensor_v2\n", "ctorch\nFloatStorage\n"};
	struct tensor_list list;
	zip_t *zip;
	zip_file_t *file;
	char pickle[1024];
	zip_int64_t n;

	two_tensors(&list);
	write_list("x.bin", &list);
	zip = open_zip("x.bin");
	file = zip_fopen_index(zip, 0, 0);
	n = zip_fread(file, pickle, sizeof(pickle));
	assert_true(n > 0 && n < (zip_int64_t)sizeof(pickle));
	assert_memory_equal(pickle, "\x80\x02", 2);
	assert_int_equal(pickle[n - 1], '.');
	for (size_t i = 0; i < NELEM(known); i++)
		assert_non_null(memmem(pickle, (size_t)n, known[i], strlen(known[i])));
	assert_non_null(memmem(pickle, (size_t)n, "dense.weight", 12));
	zip_fclose(file);
	zip_close(zip);
	tensor_list_done(&list);
}

static void test_same_tensors_give_the_same_bytes(void **state)
{
	struct tensor_list list;
	struct buf one, two;

	two_tensors(&list);
	write_list("one.bin", &list);
	write_list("two.bin", &list);
	one = contents("one.bin");
	two = contents("two.bin");
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
	buf_done(&one);
	buf_done(&two);
	tensor_list_done(&list);
}

static void test_refuses_more_than_its_numbers_hold(void **state)
{
	struct tensor_list list;
	struct err err;

	two_tensors(&list);
	list.tensor[0].shape[0] = 1 << 30; /* refused before the bytes are looked at */
	assert_int_equal(torch_file_write(scratch.fd, "x.bin", &list, &err), -ERR_TOO_LARGE);
	assert_string_equal(err.where, "x.bin");
	tensor_list_done(&list);
}

static void test_says_when_it_cannot_write(void **state)
{
	struct tensor_list list;
	struct err err;

	two_tensors(&list);
	assert_int_equal(torch_file_write(scratch.fd, "no/x.bin", &list, &err), -ERR_IO);
	tensor_list_done(&list);
}

#define in_directory(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_directory(test_archive_has_pytorchs_entries),
		in_directory(test_values_lie_at_multiples_of_64),
		in_directory(test_pickle_names_no_global_but_three),
		in_directory(test_same_tensors_give_the_same_bytes),
		in_directory(test_refuses_more_than_its_numbers_hold),
		in_directory(test_says_when_it_cannot_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
