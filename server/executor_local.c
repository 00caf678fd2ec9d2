/*
 * executor_local: workers as processes of this machine.
 *
 *   0  spec.json, read-only            3  model directory
 *   1  a pipe to the daemon            4  data/
 *   2  log, appended                   5  out/, with an exclusive flock on it
 *
 * The lock belongs to the open file description that the worker inherits as descriptor 5, so it lasts exactly
 * as long as the worker (or a child that it leaves) does, and the worker need not know of it.
 */
#include "server/executor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	READ_BYTES = 1 << 15, /* about as many lines as EVENTS_PENDING_MAX */
	NICE = 10, /* of workers, on top of ours: no answer waits for a training that takes every processor */
	NICE_MAX = 19,
	LINGER_MS = 1000, /* how long the output of a dead worker may stay open (a child holds it) */
};

struct local {
	struct executor base;
	struct executor_options options;
	char program[PATH_MAX];
	char threads[24];
	struct worker *workers;
};

struct worker {
	struct local *local;
	struct worker *next;
	struct worker_events events;
	struct worker_exit how;
	uv_process_t process;
	uv_pipe_t output;
	int open_handles;
	bool has_exited, has_output_ended, is_held, is_over;
	uint64_t kill_at;   /* 0: not asked to stop */
	uint64_t exited_at; /* uv_now */
	char chunk[READ_BYTES];
};

/* --- end of a worker -------------------------------------------------------------------------------- */

static void unlink_worker(struct worker *worker)
{
	struct worker **at = &worker->local->workers;

	while (*at != NULL && *at != worker)
		at = &(*at)->next;
	if (*at != NULL)
		*at = worker->next;
}

static void on_closed(uv_handle_t *handle)
{
	struct worker *worker = handle->data;

	if (--worker->open_handles == 0)
		free(worker);
}

static void close_handles(struct worker *worker)
{
	unlink_worker(worker);
	worker->open_handles = 1;
	uv_close((uv_handle_t *)&worker->output, on_closed);
	if (worker->process.loop == NULL) /* uv_spawn, which initialises it, was not reached */
		return;
	worker->open_handles++;
	uv_close((uv_handle_t *)&worker->process, on_closed);
}

static void end_when_over(struct worker *worker)
{
	if (!worker->has_exited || !worker->has_output_ended || worker->is_over)
		return;
	worker->is_over = true;
	worker->events.ended(worker->events.arg, &worker->how);
	close_handles(worker);
}

static void on_gone(uv_process_t *process, int64_t status, int signal)
{
	struct worker *worker = process->data;

	worker->how = (struct worker_exit){(int)status, signal};
	worker->has_exited = true;
	worker->exited_at = uv_now(worker->local->options.loop);
	end_when_over(worker);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct worker *worker = handle->data;

	(void)suggested;
	*out = uv_buf_init(worker->chunk, sizeof(worker->chunk));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *chunk)
{
	struct worker *worker = stream->data;

	if (n > 0) {
		worker->events.output(worker->events.arg, chunk->base, (size_t)n);
	} else if (n < 0) {
		uv_read_stop(stream);
		worker->has_output_ended = true;
		end_when_over(worker);
	}
}

/* --- start ------------------------------------------------------------------------------------------ */

static int open_locked(int *out, int dirfd, struct err *err)
{
	int fd = openat(dirfd, "out", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return err_errno(err, errno, "out", "open");
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int saved = errno;

		close(fd);
		if (saved == EWOULDBLOCK)
			return err_set(err, ERR_UNAVAILABLE, "out", "another worker is at this job");
		return err_errno(err, saved, "out", "lock");
	}
	*out = fd;
	return 0;
}

static int open_one(int *out, int dirfd, const char *name, int flags, struct err *err)
{
	*out = openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	return *out < 0 ? err_errno(err, errno, name, "open") : 0;
}

enum { FD_SPEC, FD_OUTPUT, FD_LOG, FD_MODEL, FD_DATA, FD_OUT, FD_COUNT };

static void close_fds(const int *fds)
{
	for (int i = 0; i < FD_COUNT; i++)
		if (i != FD_MODEL && fds[i] >= 0)
			close(fds[i]);
}

/* All but FD_OUTPUT; what is open is the caller's to close_fds. */
static int open_fds(int *fds, const struct executor_job *job, struct err *err)
{
	int rc;

	for (int i = 0; i < FD_COUNT; i++)
		fds[i] = -1;
	fds[FD_MODEL] = job->modelfd;
	rc = open_locked(&fds[FD_OUT], job->dirfd, err);
	if (rc == 0)
		rc = open_one(&fds[FD_SPEC], job->dirfd, "spec.json", O_RDONLY, err);
	if (rc == 0)
		rc = open_one(&fds[FD_LOG], job->dirfd, "log", O_WRONLY | O_APPEND | O_CREAT, err);
	if (rc == 0)
		rc = open_one(&fds[FD_DATA], job->dirfd, "data", O_RDONLY | O_DIRECTORY, err);
	return rc;
}

/* The little of our environment that a worker gets: what sanitizers of a test build read. */
static int fill_environment(char **env, char *space, size_t size)
{
	static const char *const passed[] = {"ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS"};
	static char path[] = "PATH=/usr/bin:/bin";
	int n = 0;

	env[n++] = path;
	for (size_t i = 0; i < NELEM(passed); i++) {
		const char *value = getenv(passed[i]);
		int len;

		if (value == NULL)
			continue;
		len = snprintf(space, size, "%s=%s", passed[i], value);
		if (len < 0 || (size_t)len >= size)
			break;
		env[n++] = space;
		space += len + 1;
		size -= (size_t)len + 1;
	}
	env[n] = NULL;
	return n;
}

/*
 * Make the worker yield to us. A session is a group of its own to the scheduler where it groups by session (autogroup),
 * and within a group nice says nothing about other groups: so the group is made nice too. Neither is worth a failure.
 */
static void make_nice(pid_t pid)
{
	int nice = MIN(NICE_MAX, getpriority(PRIO_PROCESS, 0) + NICE), fd;
	char path[64];

	setpriority(PRIO_PROCESS, (id_t)pid, nice);
	snprintf(path, sizeof(path), "/proc/%d/autogroup", (int)pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	dprintf(fd, "%d", nice);
	close(fd);
}

static int spawn(struct worker *worker, const int *fds, struct err *err)
{
	static char threads_flag[] = "--threads", sandbox_flag[] = "--sandbox";
	struct local *local = worker->local;
	char sandbox[32], space[4096];
	char *args[] = {local->program, threads_flag, local->threads, sandbox_flag, sandbox, NULL}, *env[8];
	uv_stdio_container_t stdio[FD_COUNT];
	uv_process_options_t options = {0};
	int rc;

	snprintf(sandbox, sizeof(sandbox), "%s", local->options.sandbox);
	fill_environment(env, space, sizeof(space));
	for (int i = 0; i < FD_COUNT; i++) {
		stdio[i].flags = UV_INHERIT_FD;
		stdio[i].data.fd = fds[i];
	}
	options.file = local->program;
	options.args = args;
	options.env = env;
	options.cwd = "/";
	options.stdio = stdio;
	options.stdio_count = FD_COUNT;
	options.exit_cb = on_gone;
	/* A session of its own: Ctrl-C at the daemon's terminal is the daemon's to hand on. */
	options.flags = UV_PROCESS_DETACHED;
	rc = uv_spawn(local->options.loop, &worker->process, &options);
	if (rc != 0)
		return err_set(
			err, ERR_INTERNAL, local->program, "cannot start the worker: %s", uv_strerror(rc));
	make_nice(uv_process_get_pid(&worker->process));
	return 0;
}

/* Take the pipe's read end; *fds gets the write end. */
static int open_output(struct worker *worker, int *fds, struct err *err)
{
	uv_file ends[2];
	int rc = uv_pipe(ends, UV_NONBLOCK_PIPE, 0);

	if (rc != 0)
		return err_set(err, ERR_IO, "", "pipe: %s", uv_strerror(rc));
	fds[FD_OUTPUT] = ends[1];
	rc = uv_pipe_open(&worker->output, ends[0]);
	if (rc != 0) {
		close(ends[0]);
		return err_set(err, ERR_IO, "", "pipe: %s", uv_strerror(rc));
	}
	return 0;
}

/* Start it with the handles initialised; on failure the caller closes them. */
static int start(struct worker *worker, const struct executor_job *job, struct err *err)
{
	int fds[FD_COUNT];
	int rc = open_fds(fds, job, err);

	if (rc == 0)
		rc = open_output(worker, fds, err);
	if (rc == 0)
		rc = spawn(worker, fds, err);
	close_fds(fds);
	if (rc == 0)
		uv_read_start((uv_stream_t *)&worker->output, on_alloc, on_read);
	return rc;
}

static int local_submit(struct worker **out, struct executor *executor, const struct executor_job *job,
	const struct worker_events *events, struct err *err)
{
	struct local *local = (struct local *)executor;
	struct worker *worker = calloc(1, sizeof(*worker));
	int rc;

	if (worker == NULL)
		return err_nomem(err);
	worker->local = local;
	worker->events = *events;
	worker->next = local->workers;
	local->workers = worker;
	uv_pipe_init(local->options.loop, &worker->output, 0);
	worker->output.data = worker;
	worker->process.data = worker;
	rc = start(worker, job, err);
	if (rc != 0)
		close_handles(worker);
	else
		*out = worker;
	return rc;
}

/* --- the rest --------------------------------------------------------------------------------------- */

/* The worker's whole session: what it may have started goes with it. */
static void signal_worker(const struct worker *worker, int signal)
{
	if (!worker->has_exited)
		(void)kill(-uv_process_get_pid(&worker->process), signal);
}

static void local_cancel(struct worker *worker, int64_t grace_ms)
{
	uint64_t kill_at = uv_now(worker->local->options.loop) + (uint64_t)grace_ms + 1;

	if (worker->kill_at == 0)
		signal_worker(worker, SIGTERM);
	if (worker->kill_at == 0 || kill_at < worker->kill_at)
		worker->kill_at = kill_at;
}

static void poll_worker(struct worker *worker, uint64_t now)
{
	if (!worker->has_exited && worker->kill_at != 0 && now >= worker->kill_at)
		signal_worker(worker, SIGKILL);
	if (!worker->has_exited || worker->is_held || now < worker->exited_at + LINGER_MS)
		return;
	uv_read_stop((uv_stream_t *)&worker->output);
	worker->has_output_ended = true;
	end_when_over(worker);
}

static void local_poll(struct executor *executor)
{
	struct local *local = (struct local *)executor;
	uint64_t now = uv_now(local->options.loop);
	struct worker *next;

	for (struct worker *worker = local->workers; worker != NULL; worker = next) {
		next = worker->next;
		poll_worker(worker, now);
	}
}

static void local_hold(struct worker *worker, bool is_held)
{
	if (worker->is_held == is_held || worker->has_output_ended)
		return;
	worker->is_held = is_held;
	worker->exited_at = uv_now(worker->local->options.loop);
	if (is_held)
		uv_read_stop((uv_stream_t *)&worker->output);
	else
		uv_read_start((uv_stream_t *)&worker->output, on_alloc, on_read);
}

static int local_reconcile(
	bool *is_there, struct executor *executor, const struct executor_job *job, struct err *err)
{
	struct err fault;
	int fd, rc = open_locked(&fd, job->dirfd, &fault);

	(void)executor;
	*is_there = rc == -ERR_UNAVAILABLE;
	if (rc == 0)
		close(fd);
	if (rc == 0 || *is_there || faccessat(job->dirfd, "out", F_OK, AT_SYMLINK_NOFOLLOW) != 0)
		return 0;
	*err = fault;
	return rc;
}

static void local_free(struct executor *executor)
{
	free(executor);
}

static const struct executor_ops local_ops = {
	.name = "local",
	.submit = local_submit,
	.poll = local_poll,
	.cancel = local_cancel,
	.reconcile = local_reconcile,
	.hold = local_hold,
	.free = local_free,
};

/* Workers start in "/", so a relative path must be resolved here. That there is nothing is found out at each start. */
static void find_program(struct local *local, const char *path)
{
	char here[PATH_MAX];

	if (realpath(path, local->program) != NULL)
		return;
	if (path[0] == '/' || getcwd(here, sizeof(here)) == NULL)
		snprintf(local->program, sizeof(local->program), "%s", path);
	else
		snprintf(local->program, sizeof(local->program), "%.2047s/%.2047s", here, path);
}

int executor_local_new(struct executor **out, const struct executor_options *options, struct err *err)
{
	struct local *local = calloc(1, sizeof(*local));

	if (local == NULL)
		return err_nomem(err);
	local->base.ops = &local_ops;
	local->options = *options;
	find_program(local, options->program);
	snprintf(local->threads, sizeof(local->threads), "%lld", (long long)options->threads);
	*out = &local->base;
	return 0;
}
