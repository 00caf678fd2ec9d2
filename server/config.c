#include "server/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/options.h"
#include "server/hosts.h"

#define FIELD(f) offsetof(struct config, f)

static const struct option_row rows[] = {
	{"data-dir", "DIR", "where everything is kept; required", OPTION_TEXT, false, FIELD(data_dir), 0, 0},
	{"listen", "HOST:PORT", "address (127.0.0.1:8080); port 0 takes a free one", OPTION_TEXT, false,
		FIELD(listen), 0, 0},
	{"workers", "N", "jobs that run at once (1)", OPTION_INTEGER, false, FIELD(workers), 1, 256},
	{"threads", "N", "threads of a worker (cores / workers)", OPTION_INTEGER, false, FIELD(threads), 0,
		1024},
	{"sandbox", "MODE", "of workers: require (default), auto or off", OPTION_TEXT, false, FIELD(sandbox),
		0, 0},
	{"max-upload-bytes", "N", "size of one file or model (8589934592)", OPTION_INTEGER, false,
		FIELD(max_upload_bytes), 1, INT64_MAX / 2},
	{"max-queue", "N", "jobs that may wait (1000)", OPTION_INTEGER, false, FIELD(max_queue), 1, 10000000},
	{"job-time-limit", "S", "seconds that a job may run (86400)", OPTION_INTEGER, false,
		FIELD(job_time_limit), 1, 31536000},
	{"stop-grace", "S", "seconds for a worker to write its checkpoint when stopped (30)", OPTION_INTEGER,
		false, FIELD(stop_grace), 1, 3600},
	{"client-timeout", "S", "seconds that a silent or crawling client is given (60)", OPTION_INTEGER,
		false, FIELD(client_timeout), 1, 3600},
	{"max-connections", "N", "open connections (1000)", OPTION_INTEGER, false, FIELD(max_connections), 4,
		60000},
	{"allowed-hosts", "LIST", "further names that requests may use: host or host:port, commas between",
		OPTION_TEXT, false, FIELD(allowed_hosts), 0, 0},
	{"worker", "PATH", "the worker program (obliviate-worker beside this one)", OPTION_TEXT, false,
		FIELD(worker), 0, 0},
	{"log-level", "LEVEL", "debug, info (default), warn or error", OPTION_TEXT, false, FIELD(log_level),
		0, 0},
	{"config", "FILE", "a JSON file, keys = flag names", OPTION_TEXT, false, FIELD(config), 0, 0},
	{"name", "NAME", "of a new key", OPTION_TEXT, true, FIELD(name), 0, 0},
	{"help", NULL, "this text", OPTION_SWITCH, true, FIELD(help), 0, 0},
	{"version", NULL, "the version", OPTION_SWITCH, true, FIELD(version), 0, 0},
};

/* Texts that nobody set, and the words that a text may be (NULL: any). */
static const struct {
	const char *name;
	size_t offset;
	const char *fallback;
	const char *const *choices;
} texts[] = {
	{"--listen", FIELD(listen), "127.0.0.1:8080", NULL},
	{"--allowed-hosts", FIELD(allowed_hosts), "", NULL},
	{"--sandbox", FIELD(sandbox), "require", (const char *const[]){"require", "auto", "off", NULL}},
	{"--log-level", FIELD(log_level), "info",
		(const char *const[]){"debug", "info", "warn", "error", NULL}},
};

static bool is_choice(const char *text, const char *const *choices)
{
	for (; *choices != NULL; choices++) {
		if (strcmp(text, *choices) == 0)
			return true;
	}
	return false;
}

static int finish_texts(struct config *out, struct err *err)
{
	for (size_t i = 0; i < NELEM(texts); i++) {
		char **field = (char **)(void *)((char *)out + texts[i].offset);

		if (*field == NULL)
			*field = strdup(texts[i].fallback);
		if (*field == NULL)
			return err_nomem(err);
		if (texts[i].choices != NULL && !is_choice(*field, texts[i].choices))
			return err_set(err, ERR_USAGE, texts[i].name, "'%s' is not known", *field);
	}
	return 0;
}

static int check_listen(const struct config *config, struct err *err)
{
	char host[256], port[8];

	if (!address_split(host, sizeof(host), port, sizeof(port), config->listen))
		return err_set(
			err, ERR_USAGE, "--listen", "'%s' is not an address and a port", config->listen);
	return 0;
}

/* The worker beside this program. */
static int finish_worker(struct config *out, struct err *err)
{
	struct buf path = {0};
	char exe[4096];
	ssize_t n;

	if (out->worker != NULL)
		return 0;
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	exe[MAX(n, 0)] = '\0';
	if (strrchr(exe, '/') != NULL)
		strrchr(exe, '/')[1] = '\0';
	buf_printf(&path, "%sobliviate-worker", exe);
	out->worker = buf_take(&path);
	return out->worker == NULL ? err_nomem(err) : 0;
}

int server_config_read(struct config *out, int *n_words, int argc, char **argv, struct err *err)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int rc;

	*out = (struct config){
		.workers = 1,
		.max_upload_bytes = (int64_t)8 << 30,
		.max_queue = 1000,
		.job_time_limit = 86400,
		.stop_grace = 30,
		.client_timeout = 60,
		.max_connections = 1000,
	};
	rc = options_read(out, n_words, rows, NELEM(rows), argc, argv, err);
	if (rc != 0 || out->help || out->version)
		return rc;
	if (out->data_dir == NULL || out->data_dir[0] == '\0')
		return err_set(err, ERR_USAGE, "--data-dir", "is required");
	if (out->threads == 0)
		out->threads = MAX(1, (int64_t)cores / out->workers);
	rc = finish_texts(out, err);
	if (rc == 0)
		rc = check_listen(out, err);
	return rc == 0 ? finish_worker(out, err) : rc;
}

void server_config_done(struct config *config)
{
	options_done(config, rows, NELEM(rows));
}

void server_config_help(void)
{
	options_help(stdout, rows, NELEM(rows));
}
