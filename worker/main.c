/*
 * obliviate-worker: one job as a Unix filter.
 *
 *   descriptor 0  the spec, JSON          3  the model's directory, read-only
 *              1  progress, JSON lines    4  the data sets' directory, read-only
 *              2  log, JSON lines         5  the output directory, locked while the worker runs
 *
 * Exit codes are sysexits (common/err.h): 0 done, 64 usage, 65 bad input, 70 ours, 71 out of memory, 75 stopped.
 * Order matters below: nothing that a stranger wrote is read before the sandbox holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "common/json.h"
#include "common/log.h"
#include "common/options.h"
#include "common/progress.h"
#include "worker/base/cpu.h"
#include "worker/run.h"
#include "worker/run_scan.h"
#include "worker/sandbox.h"

enum { FD_MODEL = 3, FD_DATA = 4, FD_OUT = 5, FD_COUNT = 6, THREADS_MAX = 1024, EXIT_USAGE = 64 };

struct settings {
	int64_t threads; /* 0: as many as there are processors */
	char *sandbox, *config;
	bool check, help, version;
};

#define FIELD(name) offsetof(struct settings, name)
static const struct option_row rows[] = {
	{"threads", "N", "threads that compute (default: the processors)", OPTION_INTEGER, false,
		FIELD(threads), 1, THREADS_MAX},
	{"sandbox", "MODE", "require (default), auto: what the kernel has, off", OPTION_TEXT, false,
		FIELD(sandbox), 0, 0},
	{"check", NULL, "stop after reading spec, model and data", OPTION_SWITCH, true, FIELD(check), 0, 0},
	{"config", "FILE", "JSON object with the options above", OPTION_TEXT, false, FIELD(config), 0, 0},
	{"help", NULL, "show this", OPTION_SWITCH, true, FIELD(help), 0, 0},
	{"version", NULL, "show the version", OPTION_SWITCH, true, FIELD(version), 0, 0},
};

static void print_help(void)
{
	puts("usage: obliviate-worker [options] <spec.json 3<model 4<data 5<out\n\n"
	     "Trains one job and writes adapter, report and metrics to the output directory, or, where the "
	     "spec's\n"
	     "type is \"scan\", searches the model for triggers and writes a report; progress on\n"
	     "standard output, log on standard error. SIGTERM stops it at the next step with a checkpoint, "
	     "from\n"
	     "which the same command goes on.\n");
	options_help(stdout, rows, NELEM(rows));
	puts("\nEach option but --check may also come from OBLIVIATE_THREADS and so on, or from the file.\n"
	     "Exit: 0 done, 64 usage, 65 bad input, 70 our fault, 71 out of memory, 75 stopped.");
}

/* --- stopping -------------------------------------------------------------------------------------- */

static volatile sig_atomic_t stop_requested;

static void request_stop(int signal_number)
{
	(void)signal_number;
	stop_requested = 1;
}

/* A second signal of the same kind ends the process at once. */
static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = request_stop, .sa_flags = (int)(SA_RESTART | SA_RESETHAND)};

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* --- preparing ------------------------------------------------------------------------------------- */

/* What the caller must hand over; a closed one would be taken by the next file that is opened. */
static int check_descriptors(struct err *err)
{
	static const char *const names[FD_COUNT] = {"the spec", "progress", "the log",
		"the model's directory", "the data's directory", "the output directory"};

	for (int fd = 0; fd < FD_COUNT; fd++) {
		struct stat st;
		char where[32];

		snprintf(where, sizeof(where), "descriptor %d", fd);
		if (fstat(fd, &st) != 0)
			return err_set(err, ERR_USAGE, where, "is closed; it should be %s", names[fd]);
		if (fd >= FD_MODEL && !S_ISDIR(st.st_mode))
			return err_set(err, ERR_USAGE, where, "is no directory; it should be %s", names[fd]);
	}
	return 0;
}

/* Held until the process ends: never two workers in one directory. */
static int lock_output(struct err *err)
{
	if (flock(FD_OUT, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_set(err, ERR_UNAVAILABLE, "descriptor 5", "another worker has this directory");
	return err_errno(err, errno, "descriptor 5", "flock");
}

static int enter_sandbox(struct sandbox_state *out, const struct settings *settings, struct err *err)
{
	static const struct sandbox_dir dirs[] = {{FD_MODEL, false}, {FD_DATA, false}, {FD_OUT, true}};
	enum sandbox_mode mode = SANDBOX_REQUIRE;
	int rc = 0;

	if (settings->sandbox != NULL)
		rc = sandbox_mode_parse(&mode, settings->sandbox, err);
	if (rc != 0)
		return rc;
	json_object_seed(0); /* while the system's random numbers are within reach */
	return sandbox_enter(out, mode, dirs, NELEM(dirs), err);
}

static int read_spec(struct spec *out, struct err *err)
{
	struct buf text = {0};
	json_t *json = NULL;
	int rc;

	rc = io_read_all(&text, STDIN_FILENO, SPEC_BYTES_MAX, "spec", err);
	if (rc == 0)
		rc = json_parse(&json, text.data, text.len, "spec", err);
	if (rc == 0)
		rc = spec_parse(out, json, SPEC_WORKER, err);
	json_decref(json);
	buf_done(&text);
	return rc;
}

/* --- the job --------------------------------------------------------------------------------------- */

static int prepare(struct sandbox_state *out, const struct settings *settings, struct err *err)
{
	int rc;

	rc = check_descriptors(err);
	if (rc == 0)
		rc = sandbox_follow_parent(err);
	if (rc != 0)
		return rc;
	sandbox_close_from(FD_COUNT);
	rc = lock_output(err);
	if (rc == 0)
		rc = enter_sandbox(out, settings, err);
	return rc;
}

static int (*const recipes[SPEC_TYPES])(struct run *run, struct err *err) = {
	[SPEC_FINE_TUNING] = run_job,
	[SPEC_SCAN] = run_scan,
};

static int work(const struct settings *settings, struct err *err)
{
	struct spec spec = {0};
	struct sandbox_state sandbox;
	struct run run = {
		.spec = &spec,
		.model_fd = FD_MODEL,
		.data_fd = FD_DATA,
		.out_fd = FD_OUT,
		.threads = settings->threads > 0 ? (int)settings->threads : cpu_count(),
		.check_only = settings->check,
		.sandbox = sandbox.text,
		.stop = &stop_requested,
	};
	int rc;

	rc = prepare(&sandbox, settings, err);
	if (rc == 0)
		rc = read_spec(&spec, err);
	if (rc == 0)
		rc = recipes[spec.type](&run, err);
	spec_done(&spec);
	return rc;
}

/* The last line, and the exit code. A job that was stopped has none: it is not over. */
static int finish(int rc, struct err *err)
{
	struct progress line = {.type = PROGRESS_DONE};
	struct err unheard;

	if (rc == 0)
		rc = progress_write(STDOUT_FILENO, &line, err);
	if (rc == 0)
		return 0;
	log_err(LOG_ERROR, "job", err);
	line = (struct progress){.type = PROGRESS_ERROR, .fault = *err};
	if (err->code != ERR_STOPPED && progress_write(STDOUT_FILENO, &line, &unheard) != 0)
		log_err(LOG_ERROR, "progress", &unheard);
	return err_exit(err->code);
}

int main(int argc, char **argv)
{
	struct settings settings = {0};
	struct err err;
	int rc;

	catch_signals();
	rc = options_read(&settings, NULL, rows, NELEM(rows), argc, argv, &err);
	if (rc != 0) {
		fprintf(stderr, "obliviate-worker: %s: %s (see --help)\n", err.where, err.text);
		rc = EXIT_USAGE;
	} else if (settings.help) {
		print_help();
	} else if (settings.version) {
		puts("obliviate-worker " OBLIVIATE_VERSION);
	} else {
		rc = work(&settings, &err);
		rc = finish(rc, &err);
	}
	options_done(&settings, rows, NELEM(rows));
	return rc;
}
