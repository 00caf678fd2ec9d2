/* Each test enters the sandbox in a child, because there is no way back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/io.h"
#include "common/sha256.h"
#include "worker/sandbox.h"

static char root[] = "/tmp/sandbox.XXXXXX";
static int input_fd, output_fd; /* root/input with a file, and root/output */

static bool has_landlock(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0;
}

/* --- what children do: 0 when as it should be, else the number of the broken line ------------------- */

#define CHECK(x)                                                                                             \
	do {                                                                                                 \
		if (!(x))                                                                                    \
			return __LINE__;                                                                     \
	} while (0)

static int enter(struct sandbox_state *state, enum sandbox_mode mode)
{
	const struct sandbox_dir dirs[] = {{input_fd, false}, {output_fd, true}};
	struct err err;

	return sandbox_enter(state, mode, dirs, 2, &err);
}

/* As much as the kernel has; tests of landlock are skipped where it has none. */
static int enter_auto(void)
{
	struct sandbox_state state;

	return enter(&state, SANDBOX_AUTO);
}

static int require_and_compare_text(void)
{
	struct sandbox_state state;

	CHECK(enter(&state, SANDBOX_REQUIRE) == 0);
	CHECK(state.no_new_privs && state.seccomp && state.landlock_abi >= 1);
	CHECK(strncmp(state.text, "no_new_privs+seccomp+landlock(abi ", 34) == 0);
	return 0;
}

static int read_input(void)
{
	struct io_map map;
	struct err err;

	CHECK(enter_auto() == 0);
	CHECK(io_map_open(&map, input_fd, "data", &err) == 0);
	CHECK(map.len == 5 && memcmp(map.data, "hello", 5) == 0);
	io_map_done(&map);
	return 0;
}

static int write_input(void)
{
	CHECK(enter_auto() == 0);
	CHECK(openat(input_fd, "data", O_WRONLY) < 0 && errno == EACCES);
	CHECK(openat(input_fd, "new", O_WRONLY | O_CREAT, 0600) < 0 && errno == EACCES);
	CHECK(unlinkat(input_fd, "data", 0) != 0 && errno == EACCES);
	return 0;
}

static int write_output(void)
{
	struct err err;
	int fd;

	CHECK(enter_auto() == 0);
	CHECK(mkdirat(output_fd, "adapter", 0700) == 0);
	CHECK(io_write_file(output_fd, "adapter/weights", "1", 1, &err) == 0);
	CHECK(io_write_file(output_fd, "adapter/weights", "22", 2, &err) == 0);
	fd = openat(output_fd, "adapter/weights", O_RDWR | O_TRUNC);
	CHECK(fd >= 0 && ftruncate(fd, 1) == 0);
	CHECK(unlinkat(output_fd, "adapter/weights", 0) == 0);
	CHECK(unlinkat(output_fd, "adapter", AT_REMOVEDIR) == 0);
	return 0;
}

static int open_elsewhere(void)
{
	CHECK(enter_auto() == 0);
	CHECK(openat(AT_FDCWD, "/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
	CHECK(openat(AT_FDCWD, "/proc/self/environ", O_RDONLY) < 0 && errno == EACCES);
	CHECK(openat(output_fd, "../secret", O_RDONLY) < 0 && errno == EACCES);
	CHECK(openat(input_fd, "link", O_RDONLY) < 0 && errno == EACCES);
	return 0;
}

static int make_link(void)
{
	CHECK(enter_auto() == 0);
	CHECK(symlinkat("/etc/passwd", output_fd, "passwd") != 0);
	CHECK(linkat(input_fd, "data", output_fd, "stolen", 0) != 0);
	return 0;
}

static int open_socket(void)
{
	CHECK(enter_auto() == 0);
	socket(AF_INET, SOCK_STREAM, 0);
	return __LINE__;
}

static int execute(void)
{
	char *const argv[] = {NULL};

	CHECK(enter_auto() == 0);
	execv("/bin/true", argv);
	return __LINE__;
}

static int trace(void)
{
	CHECK(enter_auto() == 0);
	syscall(SYS_ptrace, 0, 0, 0, 0);
	return __LINE__;
}

static int fork_again(void)
{
	CHECK(enter_auto() == 0);
	CHECK(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == -1 && errno == EPERM);
	CHECK(syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS);
	return 0;
}

static int signal_parent(void)
{
	CHECK(enter_auto() == 0);
	CHECK(kill(getppid(), 0) != 0 && errno == EPERM);
	CHECK(syscall(SYS_tgkill, getppid(), getppid(), 0) != 0 && errno == EPERM);
	return 0;
}

static int make_code(void)
{
	void *page;

	CHECK(enter_auto() == 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page == MAP_FAILED && errno == EPERM);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0 && errno == EPERM);
	CHECK(mprotect(page, 4096, PROT_READ) == 0);
	return 0;
}

static int abort_inside(void)
{
	CHECK(enter_auto() == 0);
	abort();
}

static int raise_limits(void)
{
	struct rlimit limit;

	CHECK(enter_auto() == 0);
	CHECK(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0);
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max <= 256);
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) != 0 && errno == EPERM);
	return 0;
}

/* Memory, arithmetic and a look at the outside from a thread. */
static void *add_up(void *arg)
{
	int *sum = arg, *numbers = malloc(100000 * sizeof(*numbers));

	if (numbers == NULL)
		return NULL;
	for (int i = 0; i < 100000; i++)
		numbers[i] = i % 7;
	for (int i = 0; i < 100000; i++)
		*sum += numbers[i];
	free(numbers);
	return openat(AT_FDCWD, "/etc/passwd", O_RDONLY) < 0 ? arg : NULL;
}

static int compute(void)
{
	char hex[SHA256_HEX_BYTES];
	pthread_t thread[2];
	int sum[2] = {0};
	void *result;
	struct err err;

	CHECK(enter_auto() == 0);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&thread[i], NULL, add_up, &sum[i]) == 0);
	for (int i = 0; i < 2; i++) {
		CHECK(pthread_join(thread[i], &result) == 0);
		CHECK(result == &sum[i] || !has_landlock());
		CHECK(sum[i] == 299995);
	}
	CHECK(sha256_of(hex, "", 0, &err) == 0);
	CHECK(strncmp(hex, "e3b0c442", 8) == 0);
	return 0;
}

static void *socket_in_thread(void *arg)
{
	socket(AF_UNIX, SOCK_STREAM, 0);
	return arg;
}

static int open_socket_in_thread(void)
{
	pthread_t thread;

	CHECK(enter_auto() == 0);
	CHECK(pthread_create(&thread, NULL, socket_in_thread, NULL) == 0);
	pthread_join(thread, NULL);
	return __LINE__;
}

static void *wait_for_ever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static int enter_with_thread(void)
{
	struct sandbox_state state;
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, wait_for_ever, NULL) == 0);
	CHECK(enter(&state, SANDBOX_AUTO) == -ERR_INTERNAL);
	return 0;
}

static int stay_outside(void)
{
	struct sandbox_state state;
	int fd;

	CHECK(enter(&state, SANDBOX_OFF) == 0);
	CHECK(strcmp(state.text, "off") == 0);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	CHECK(openat(AT_FDCWD, "/etc/passwd", O_RDONLY) >= 0);
	return 0;
}

/* From now on this process is on a kernel without `call`. */
static void forget_call(int call)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), call, 0);
	seccomp_load(filter);
	seccomp_release(filter);
}

static int require_without_landlock(void)
{
	struct sandbox_state state;
	const struct sandbox_dir dir = {input_fd, false};
	struct err err;

	forget_call(SCMP_SYS(landlock_create_ruleset));
	CHECK(sandbox_enter(&state, SANDBOX_REQUIRE, &dir, 1, &err) == -ERR_SANDBOX);
	CHECK(strcmp(err.where, "landlock") == 0);
	return 0;
}

static int auto_without_landlock(void)
{
	struct sandbox_state state;

	forget_call(SCMP_SYS(landlock_create_ruleset));
	CHECK(enter(&state, SANDBOX_AUTO) == 0);
	CHECK(strcmp(state.text, "no_new_privs+seccomp") == 0);
	return 0;
}

static int require_without_seccomp(void)
{
	struct sandbox_state state;

	forget_call(SCMP_SYS(seccomp));
	CHECK(enter(&state, SANDBOX_REQUIRE) == -ERR_SANDBOX);
	return 0;
}

static int close_high_descriptors(void)
{
	CHECK(dup2(input_fd, 100) == 100);
	sandbox_close_from(90);
	CHECK(fcntl(100, F_GETFD) < 0);
	CHECK(fcntl(input_fd, F_GETFD) >= 0);
	return 0;
}

/* --- the tests -------------------------------------------------------------------------------------- */

static int run_in_child(int (*body)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(body() & 0xff);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_passes(int (*body)(void))
{
	int status = run_in_child(body);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void assert_dies_of(int signal_number, int (*body)(void))
{
	int status = run_in_child(body);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), signal_number);
}

#define NEEDS_LANDLOCK                                                                                       \
	if (!has_landlock())                                                                                 \
	skip()

static void test_require_holds_all_three(void **state)
{
	NEEDS_LANDLOCK;
	assert_passes(require_and_compare_text);
}

static void test_input_stays_readable(void **state)
{
	assert_passes(read_input);
}

static void test_input_is_read_only(void **state)
{
	NEEDS_LANDLOCK;
	assert_passes(write_input);
}

static void test_output_takes_files_and_renames(void **state)
{
	assert_passes(write_output);
}

static void test_other_paths_are_out_of_reach(void **state)
{
	NEEDS_LANDLOCK;
	assert_passes(open_elsewhere);
}

static void test_no_links_are_made(void **state)
{
	assert_passes(make_link);
}

static void test_socket_exec_and_trace_kill(void **state)
{
	assert_dies_of(SIGSYS, open_socket);
	assert_dies_of(SIGSYS, execute);
	assert_dies_of(SIGSYS, trace);
}

static void test_socket_in_a_later_thread_kills(void **state)
{
	assert_dies_of(SIGSYS, open_socket_in_thread);
}

static void test_fork_is_refused(void **state)
{
	assert_passes(fork_again);
}

static void test_other_processes_get_no_signal(void **state)
{
	assert_passes(signal_parent);
}

static void test_executable_memory_is_refused(void **state)
{
	assert_passes(make_code);
}

static void test_abort_still_ends_the_process(void **state)
{
	assert_dies_of(SIGABRT, abort_inside);
}

static void test_limits_cannot_be_raised(void **state)
{
	assert_passes(raise_limits);
}

static void test_later_threads_and_hashes_work_inside(void **state)
{
	assert_passes(compute);
}

static void test_second_thread_before_entering_is_refused(void **state)
{
	assert_passes(enter_with_thread);
}

static void test_off_changes_nothing(void **state)
{
	assert_passes(stay_outside);
}

static void test_kernel_without_landlock_is_refused_or_reported(void **state)
{
	assert_passes(require_without_landlock);
	assert_passes(auto_without_landlock);
}

static void test_kernel_without_seccomp_is_refused(void **state)
{
	assert_passes(require_without_seccomp);
}

static void test_close_from_leaves_lower_descriptors(void **state)
{
	assert_passes(close_high_descriptors);
}

static void test_mode_names(void **state)
{
	enum sandbox_mode mode;
	struct err err;

	assert_int_equal(sandbox_mode_parse(&mode, "require", &err), 0);
	assert_int_equal(mode, SANDBOX_REQUIRE);
	assert_int_equal(sandbox_mode_parse(&mode, "off", &err), 0);
	assert_int_equal(mode, SANDBOX_OFF);
	assert_int_equal(sandbox_mode_parse(&mode, "none", &err), -ERR_USAGE);
}

/* Here -> a parent that leaves at once -> a grandchild that waits: the pipe closes when it is killed. */
static void test_child_dies_with_its_parent(void **state)
{
	int ends[2], ready[2];
	char byte;
	pid_t parent;

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(pipe(ready), 0);
	parent = fork();
	if (parent == 0) {
		if (fork() == 0) {
			struct err err;

			close(ends[0]);
			if (sandbox_follow_parent(&err) != 0 || write(ready[1], "x", 1) != 1)
				_exit(1);
			wait_for_ever(NULL);
		}
		(void)!read(ready[0], &byte, 1);
		_exit(0);
	}
	close(ends[1]);
	waitpid(parent, NULL, 0);
	assert_int_equal(read(ends[0], &byte, 1), 0);
	close(ends[0]);
	close(ready[0]);
	close(ready[1]);
}

static void make_tree(void)
{
	struct err err;
	int fd;

	if (mkdtemp(root) == NULL || (fd = open(root, O_RDONLY | O_DIRECTORY)) < 0)
		exit(1);
	if (mkdirat(fd, "input", 0700) != 0 || mkdirat(fd, "output", 0700) != 0)
		exit(1);
	input_fd = openat(fd, "input", O_RDONLY | O_DIRECTORY);
	output_fd = openat(fd, "output", O_RDONLY | O_DIRECTORY);
	if (io_write_file(input_fd, "data", "hello", 5, &err) != 0 ||
		io_write_file(fd, "secret", "x", 1, &err) != 0 ||
		symlinkat("../secret", input_fd, "link") != 0)
		exit(1);
	close(fd);
}

static void remove_tree(void)
{
	unlinkat(input_fd, "link", 0);
	unlinkat(input_fd, "data", 0);
	if (chdir(root) == 0) {
		unlink("secret");
		rmdir("input");
		rmdir("output");
	}
	rmdir(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_require_holds_all_three),
		cmocka_unit_test(test_input_stays_readable),
		cmocka_unit_test(test_input_is_read_only),
		cmocka_unit_test(test_output_takes_files_and_renames),
		cmocka_unit_test(test_other_paths_are_out_of_reach),
		cmocka_unit_test(test_no_links_are_made),
		cmocka_unit_test(test_socket_exec_and_trace_kill),
		cmocka_unit_test(test_socket_in_a_later_thread_kills),
		cmocka_unit_test(test_fork_is_refused),
		cmocka_unit_test(test_other_processes_get_no_signal),
		cmocka_unit_test(test_executable_memory_is_refused),
		cmocka_unit_test(test_abort_still_ends_the_process),
		cmocka_unit_test(test_limits_cannot_be_raised),
		cmocka_unit_test(test_later_threads_and_hashes_work_inside),
		cmocka_unit_test(test_second_thread_before_entering_is_refused),
		cmocka_unit_test(test_off_changes_nothing),
		cmocka_unit_test(test_kernel_without_landlock_is_refused_or_reported),
		cmocka_unit_test(test_kernel_without_seccomp_is_refused),
		cmocka_unit_test(test_close_from_leaves_lower_descriptors),
		cmocka_unit_test(test_mode_names),
		cmocka_unit_test(test_child_dies_with_its_parent),
	};
	int rc;

	make_tree();
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	remove_tree();
	return rc;
}
