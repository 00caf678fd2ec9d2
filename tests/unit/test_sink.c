/* sink: whatever the pieces and whoever takes a block, file and digest are those of the whole. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/sink.h"

enum { BLOCK = SINK_BLOCK_BYTES, BYTES = 13 * BLOCK / 2, POOL = 4 };

static unsigned char *bytes;
static uv_async_t room;
static int n_rooms;

static void on_room(uv_async_t *handle)
{
	(void)handle;
	n_rooms++;
}

static int set_up(void **state)
{
	static uv_loop_t loop;

	*state = &loop;
	n_rooms = 0;
	bytes = malloc(BYTES);
	for (size_t i = 0; i < BYTES; i++)
		bytes[i] = (unsigned char)(i * 7 + i / 251);
	if (uv_loop_init(&loop) != 0 || uv_async_init(&loop, &room, on_room) != 0)
		return -1;
	uv_unref((uv_handle_t *)&room);
	return 0;
}

static int tear_down(void **state)
{
	free(bytes);
	uv_close((uv_handle_t *)&room, NULL);
	uv_run(*state, UV_RUN_DEFAULT);
	return uv_loop_close(*state);
}

static struct sink *open_sink(uv_loop_t *loop)
{
	struct sink *sink;
	struct err err;

	assert_int_equal(sink_new(&sink, loop, &room, &err), 0);
	return sink;
}

static void check_file(int fd, size_t len)
{
	unsigned char *back = malloc(len + 1);

	assert_int_equal(pread(fd, back, len + 1, 0), len);
	assert_memory_equal(back, bytes, len);
	free(back);
}

static void check(uv_loop_t *loop, size_t len, size_t piece, bool turns, bool has_file)
{
	char expected[SHA256_HEX_BYTES], hex[SHA256_HEX_BYTES];
	int fd = has_file ? memfd_create("sink", MFD_CLOEXEC) : -1;
	struct sink *sink = open_sink(loop);
	struct err err;

	if (has_file)
		sink_write_to(sink, fd);
	for (size_t at = 0; at < len; at += piece) {
		assert_int_equal(sink_add(sink, bytes + at, MIN(piece, len - at), &err), 0);
		if (turns)
			uv_run(loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(sink_end(sink, hex, &err), 0);
	sink_free(sink);
	assert_int_equal(sha256_of(expected, bytes, len, &err), 0);
	assert_string_equal(hex, expected);
	if (has_file) {
		check_file(fd, len);
		close(fd);
	}
}

static void test_file_and_digest_do_not_depend_on_pieces(void **state)
{
	static const size_t lens[] = {0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, BYTES};
	static const size_t pieces[] = {1000, 32768, BLOCK, BLOCK + 1, BYTES};

	for (size_t i = 0; i < NELEM(lens); i++)
		for (size_t k = 0; k < NELEM(pieces); k++)
			for (int has_file = 0; has_file < 2; has_file++) {
				check(*state, lens[i], pieces[k], false, has_file);
				check(*state, lens[i], pieces[k], true, has_file);
			}
}

static uv_sem_t gate;

static void wait_at_gate(uv_work_t *work)
{
	(void)work;
	uv_sem_wait(&gate);
}

/* Every thread of the pool waits until open_gate. */
static void close_gate(uv_loop_t *loop, uv_work_t work[POOL])
{
	uv_sem_init(&gate, 0);
	for (int i = 0; i < POOL; i++)
		uv_queue_work(loop, &work[i], wait_at_gate, NULL);
}

static void open_gate(uv_loop_t *loop)
{
	for (int i = 0; i < POOL; i++)
		uv_sem_post(&gate);
	uv_run(loop, UV_RUN_DEFAULT);
	uv_sem_destroy(&gate);
}

static void test_a_busy_pool_does_not_stop_the_end(void **state)
{
	uv_work_t work[POOL];

	close_gate(*state, work);
	check(*state, BYTES, 32768, false, true);
	open_gate(*state);
}

static void test_a_full_queue_says_when_it_has_room(void **state)
{
	struct sink *sink = open_sink(*state);
	char hex[SHA256_HEX_BYTES];
	uv_work_t work[POOL];
	struct err err;

	close_gate(*state, work);
	for (int i = 0; i < SINK_QUEUE; i++) {
		assert_false(sink_is_full(sink));
		assert_int_equal(sink_add(sink, bytes, BLOCK, &err), 0);
	}
	assert_true(sink_is_full(sink));
	assert_int_equal(n_rooms, 0);
	open_gate(*state);
	uv_run(*state, UV_RUN_NOWAIT);
	assert_int_equal(n_rooms, 1);
	assert_false(sink_is_full(sink));
	assert_int_equal(sink_end(sink, hex, &err), 0);
	sink_free(sink);
}

/* /dev/full stands for a disk without room: the thread's failure comes back to the loop, which is woken for it. */
static void test_a_failed_write_is_the_answer(void **state)
{
	struct sink *sink = open_sink(*state);
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	char hex[SHA256_HEX_BYTES];
	uv_work_t work[POOL];
	struct err err = {0};

	sink_write_to(sink, fd);
	close_gate(*state, work);
	assert_int_equal(sink_add(sink, bytes, SINK_QUEUE * BLOCK, &err), 0);
	assert_true(sink_is_full(sink));
	open_gate(*state);
	uv_run(*state, UV_RUN_NOWAIT);
	assert_int_equal(n_rooms, 1);
	assert_false(sink_is_full(sink));
	assert_int_equal(sink_add(sink, bytes, BLOCK, &err), -ERR_DISK_FULL);
	err = (struct err){0};
	assert_int_equal(sink_end(sink, hex, &err), -ERR_DISK_FULL);
	assert_int_equal(err.code, ERR_DISK_FULL);
	sink_free(sink);
	close(fd);
}

static void test_the_last_bytes_may_fail_too(void **state)
{
	struct sink *sink = open_sink(*state);
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	char hex[SHA256_HEX_BYTES];
	struct err err = {0};

	sink_write_to(sink, fd);
	assert_int_equal(sink_add(sink, bytes, 1, &err), 0);
	assert_int_equal(sink_end(sink, hex, &err), -ERR_DISK_FULL);
	sink_free(sink);
	close(fd);
}

struct look {
	uv_work_t work;
	int fd;
	off_t written;
	uv_sem_t done;
};

static void look_at_file(uv_work_t *work)
{
	struct look *look = work->data;

	look->written = lseek(look->fd, 0, SEEK_CUR);
	uv_sem_post(&look->done);
}

/* One thread has both to do, in this order. */
static void test_other_work_has_its_turn(void **state)
{
	struct look look = {.fd = memfd_create("sink", MFD_CLOEXEC)};
	struct sink *sink = open_sink(*state);
	char hex[SHA256_HEX_BYTES];
	uv_work_t work[POOL];
	struct err err;

	sink_write_to(sink, look.fd);
	look.work.data = &look;
	uv_sem_init(&look.done, 0);
	close_gate(*state, work);
	for (int i = 0; i < SINK_TURN + 2; i++)
		assert_int_equal(sink_add(sink, bytes, BLOCK, &err), 0);
	uv_queue_work(*state, &look.work, look_at_file, NULL);
	uv_sem_post(&gate);
	uv_sem_wait(&look.done);
	assert_int_equal(look.written, SINK_TURN * BLOCK);
	open_gate(*state);
	assert_int_equal(lseek(look.fd, 0, SEEK_CUR), (SINK_TURN + 2) * BLOCK);
	assert_int_equal(sink_end(sink, hex, &err), 0);
	sink_free(sink);
	close(look.fd);
	uv_sem_destroy(&look.done);
}

/* Nothing is written once it is freed: the descriptor may be somebody else's by then. */
static void test_it_may_be_dropped_at_any_point(void **state)
{
	struct err err;

	for (size_t len = 0; len <= BYTES; len += BLOCK / 4) {
		struct sink *sink = open_sink(*state);
		int fd = memfd_create("sink", MFD_CLOEXEC);
		off_t written;

		sink_write_to(sink, fd);
		assert_int_equal(sink_add(sink, bytes, len, &err), 0);
		sink_free(sink);
		written = lseek(fd, 0, SEEK_END);
		uv_run(*state, UV_RUN_DEFAULT);
		assert_int_equal(lseek(fd, 0, SEEK_END), written);
		close(fd);
	}
	sink_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_file_and_digest_do_not_depend_on_pieces),
		TEST(test_a_busy_pool_does_not_stop_the_end),
		TEST(test_a_full_queue_says_when_it_has_room),
		TEST(test_a_failed_write_is_the_answer),
		TEST(test_the_last_bytes_may_fail_too),
		TEST(test_other_work_has_its_turn),
		TEST(test_it_may_be_dropped_at_any_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
