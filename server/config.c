#include "server/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"
#include "common/json.h"
#include "common/log.h"

enum { CONFIG_FILE_MAX = 65536 };

enum option_kind { TEXT, COUNT };
enum option_scope { SERVE = 1, KEY = 2 };

struct option {
	const char *name;
	unsigned scope;
	enum option_kind kind;
	size_t offset;
	size_t size; /* of a TEXT field */
	int64_t min, max;
	const char *fallback; /* NULL: required */
	const char *sentence;
	const char *choices; /* " a b c ", or NULL */
};

#define TEXT_FIELD(f)  TEXT, offsetof(struct config, f), sizeof(((struct config *)0)->f), 0, 0
#define COUNT_FIELD(f) COUNT, offsetof(struct config, f), 0

static const struct option options[] = {
	{"data-dir", SERVE | KEY, TEXT_FIELD(data_dir), NULL, "where everything is kept", NULL},
	{"listen", SERVE, TEXT_FIELD(listen), "127.0.0.1:8080", "address and port; port 0 takes a free one",
		NULL},
	{"allowed-hosts", SERVE, TEXT_FIELD(allowed_hosts), "",
		"further names (host or host:port, comma-separated) that requests may use", NULL},
	{"workers", SERVE, COUNT_FIELD(workers), 1, 256, "1", "jobs that run at once", NULL},
	{"threads", SERVE, COUNT_FIELD(threads), 0, 1024, "0", "threads of a worker; 0: cores / workers",
		NULL},
	{"worker", SERVE, TEXT_FIELD(worker), "",
		"the worker program; default: obliviate-worker beside this one", NULL},
	{"sandbox", SERVE, TEXT_FIELD(sandbox), "require", "of workers: require, auto or off",
		" require auto off "},
	{"max-upload-bytes", SERVE, COUNT_FIELD(max_upload_bytes), 1, INT64_MAX / 2, "8589934592",
		"size of one file or model", NULL},
	{"max-queue", SERVE, COUNT_FIELD(max_queue), 1, 10000000, "1000", "jobs that may wait", NULL},
	{"job-time-limit", SERVE, COUNT_FIELD(job_time_limit), 1, 31536000, "86400",
		"seconds that a job may run", NULL},
	{"stop-grace", SERVE, COUNT_FIELD(stop_grace), 1, 3600, "30",
		"seconds that a worker has to write its checkpoint when stopped", NULL},
	{"client-timeout", SERVE, COUNT_FIELD(client_timeout), 1, 3600, "60",
		"seconds that a silent or crawling client is given", NULL},
	{"max-connections", SERVE, COUNT_FIELD(max_connections), 4, 60000, "1000", "open connections", NULL},
	{"log-level", SERVE | KEY, TEXT_FIELD(log_level), "info", "debug, info, warn or error",
		" debug info warn error "},
	{"config", SERVE | KEY, TEXT_FIELD(config), "", "a JSON file, keys = flag names", NULL},
	{"name", KEY, TEXT_FIELD(name), "", "of a new key", NULL},
};

/* Values as given, before they are checked; where each came from is for the error. */
struct given {
	const char *value[NELEM(options)];
	char source[NELEM(options)][64];
	char *owned[NELEM(options)]; /* values of the file */
};

static int find(const char *name, size_t len)
{
	for (size_t i = 0; i < NELEM(options); i++) {
		if (strlen(options[i].name) == len && memcmp(options[i].name, name, len) == 0)
			return (int)i;
	}
	return -1;
}

static void give(struct given *given, int i, const char *value, const char *source)
{
	if (given->value[i] != NULL)
		return; /* an earlier source counts more */
	given->value[i] = value;
	snprintf(given->source[i], sizeof(given->source[i]), "%s", source);
}

/* --name value, --name=value; *used arguments. */
static int take_flag(struct given *given, int *used, int argc, char *const argv[], struct err *err)
{
	const char *name = argv[0] + 2, *equals = strchr(name, '=');
	int i = find(name, equals == NULL ? strlen(name) : (size_t)(equals - name));

	if (i < 0)
		return err_set(err, ERR_USAGE, argv[0], "unknown option");
	if (equals == NULL && argc < 2)
		return err_set(err, ERR_USAGE, argv[0], "needs a value");
	if (given->value[i] != NULL)
		return err_set(err, ERR_USAGE, argv[0], "given twice");
	*used = equals == NULL ? 2 : 1;
	give(given, i, equals == NULL ? argv[1] : equals + 1, argv[0]);
	return 0;
}

static int read_flags(struct given *given, struct config *out, int argc, char *const argv[], struct err *err)
{
	int rc = 0;

	for (int i = 0, used = 1; rc == 0 && i < argc; i += used) {
		used = 1;
		if (strncmp(argv[i], "--", 2) == 0)
			rc = take_flag(given, &used, argc - i, argv + i, err);
		else if (argv[i][0] == '-' || out->n_words == CONFIG_WORDS_MAX)
			rc = err_set(err, ERR_USAGE, argv[i], "unexpected argument");
		else
			out->words[out->n_words++] = argv[i];
	}
	return rc;
}

static void variable_name(char *out, size_t len, const char *option)
{
	size_t n = (size_t)snprintf(out, len, "OBLIVIATE_%s", option);

	for (size_t i = 0; i < MIN(n, len - 1); i++)
		out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

static void read_environment(struct given *given)
{
	char name[64];

	for (size_t i = 0; i < NELEM(options); i++) {
		variable_name(name, sizeof(name), options[i].name);
		if (getenv(name) != NULL)
			give(given, (int)i, getenv(name), name);
	}
}

static int take_key(
	struct given *given, const char *file, const char *key, const json_t *value, struct err *err)
{
	char place[64], digits[32];
	int i = find(key, strlen(key));

	snprintf(place, sizeof(place), "%s in the config file", key);
	if (i < 0 || strcmp(key, "config") == 0)
		return err_set(err, ERR_USAGE, file, "unknown key '%s'", key);
	snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	if (!json_is_string(value) && !(json_is_integer(value) && options[i].kind == COUNT))
		return err_set(err, ERR_USAGE, place, "needs %s",
			options[i].kind == COUNT ? "a number" : "a string");
	given->owned[i] = strdup(json_is_string(value) ? json_string_value(value) : digits);
	if (given->owned[i] == NULL)
		return err_nomem(err);
	give(given, i, given->owned[i], place);
	return 0;
}

static int read_config_file(struct given *given, const char *path, struct err *err)
{
	struct buf text = {0};
	json_t *root = NULL, *value;
	const char *key;
	int rc = io_read_file(&text, AT_FDCWD, path, CONFIG_FILE_MAX, err);

	if (rc == 0)
		rc = json_parse(&root, text.data == NULL ? "" : text.data, text.len, path, err);
	buf_done(&text);
	if (rc != 0)
		return err_set(err, ERR_USAGE, "config", "%s: %s", path, err->text);
	if (!json_is_object(root))
		rc = err_set(err, ERR_USAGE, path, "must be a JSON object");
	else
		json_object_foreach(root, key, value)
		{
			rc = take_key(given, path, key, value, err);
			if (rc != 0)
				break;
		}
	json_decref(root);
	return rc;
}

static int store_count(
	int64_t *out, const struct option *option, const char *value, const char *source, struct err *err)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(value, &end, 10);
	if (!isdigit((unsigned char)value[0]) || *end != '\0' || errno != 0 || n < option->min ||
		n > option->max)
		return err_set(err, ERR_USAGE, source, "'%s' is not a number from %lld to %lld", value,
			(long long)option->min, (long long)option->max);
	*out = n;
	return 0;
}

static int store_text_value(
	char *out, const struct option *option, const char *value, const char *source, struct err *err)
{
	char word[64];

	if (strlen(value) >= option->size)
		return err_set(err, ERR_USAGE, source, "is longer than %zu bytes", option->size - 1);
	snprintf(word, sizeof(word), " %s ", value);
	if (option->choices != NULL && strstr(option->choices, word) == NULL)
		return err_set(err, ERR_USAGE, source, "'%s' is none of:%s", value, option->choices);
	snprintf(out, option->size, "%s", value);
	return 0;
}

static int store_values(struct config *out, const struct given *given, unsigned scope, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < NELEM(options); i++) {
		const struct option *option = &options[i];
		const char *value = given->value[i], *source = given->source[i];
		void *field = (char *)out + option->offset;

		if (value != NULL && (option->scope & scope) == 0 && source[0] == '-')
			return err_set(err, ERR_USAGE, source, "is of no use here");
		if (value == NULL)
			value = option->fallback;
		if (value == NULL || (option->fallback == NULL && value[0] == '\0'))
			return err_set(err, ERR_USAGE, option->name, "--%s is required", option->name);
		if (option->kind == COUNT)
			rc = store_count(field, option, value, source, err);
		else
			rc = store_text_value(field, option, value, source, err);
	}
	return rc;
}

/* The worker beside this program, and threads so that all workers together fill the machine. */
static void fill_derived(struct config *out)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	char exe[4000];
	ssize_t n;

	if (out->threads == 0)
		out->threads = MAX(1, (int64_t)cores / out->workers);
	if (out->worker[0] != '\0')
		return;
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	exe[MAX(n, 0)] = '\0';
	if (strrchr(exe, '/') != NULL)
		*strrchr(exe, '/') = '\0';
	snprintf(out->worker, sizeof(out->worker), "%s/obliviate-worker", exe);
}

int config_load(struct config *out, int argc, char *const argv[], struct err *err)
{
	struct given given = {0};
	int config = find("config", strlen("config"));
	unsigned scope;
	int rc;

	*out = (struct config){0};
	rc = read_flags(&given, out, argc, argv, err);
	scope = out->n_words > 0 ? KEY : SERVE;
	read_environment(&given);
	if (rc == 0 && given.value[config] != NULL && given.value[config][0] != '\0')
		rc = read_config_file(&given, given.value[config], err);
	if (rc == 0)
		rc = store_values(out, &given, scope, err);
	for (size_t i = 0; i < NELEM(options); i++)
		free(given.owned[i]);
	if (rc == 0)
		fill_derived(out);
	return rc;
}

void config_print_options(void)
{
	for (size_t i = 0; i < NELEM(options); i++) {
		const struct option *option = &options[i];
		bool show = option->fallback != NULL && option->fallback[0] != '\0';

		printf("  --%-18s %s%s%s%s\n", option->name, option->sentence, show ? " (default " : "",
			show ? option->fallback : "", show ? ")" : "");
	}
}
