/*
 * obliviated: the daemon. Reads its options, opens the data directory and the store, sweeps, listens, says so on stdout, and
 * runs the loop until SIGTERM or SIGINT. `obliviated key ...` works on the store beside a running daemon.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "server/api_files.h"
#include "server/api_models.h"
#include "server/auth.h"
#include "server/http.h"
#include "server/pool.h"
#include "server/server.h"
#include "server/store.h"
#include "server/upkeep.h"

static void print_help(void)
{
	printf("usage: obliviated --data-dir DIR [OPTION]...\n"
	       "       obliviated key create [--name NAME] --data-dir DIR\n"
	       "       obliviated key list --data-dir DIR\n"
	       "       obliviated key revoke ID --data-dir DIR\n"
	       "\n"
	       "Trains suspect encoders with a backdoor defence, behind an HTTP interface.\n"
	       "\n");
	server_config_help();
	printf("\n"
	       "Every option may stand in the environment too (--data-dir: OBLIVIATE_DATA_DIR) or in the "
	       "config\n"
	       "file. Exit status: 0 stopped as asked, 64 usage, 70 and above a failure.\n");
}

static int report(const struct err *err)
{
	if (err->code == ERR_USAGE)
		fprintf(stderr, "obliviated: %s%s%s\n", err->where, err->where[0] ? ": " : "", err->text);
	else
		log_err(LOG_ERROR, "exit", err);
	return err_exit(err->code);
}

/* ---- key create | list | revoke ---- */

static int key_create(struct store *store, const char *name, struct err *err)
{
	char secret[AUTH_KEY_BYTES];
	int rc;

	for (const char *c = name; *c != '\0'; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return err_set(err, ERR_USAGE, "--name", "must not contain control bytes");
	}
	rc = auth_create(secret, store, name, err);
	if (rc == 0)
		printf("%s\n", secret);
	return rc;
}

static void print_key(void *arg, const struct key_row *row)
{
	char created[32];
	struct tm tm;
	time_t at = (time_t)row->created_at;

	(void)arg;
	gmtime_r(&at, &tm);
	strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", &tm);
	printf("%s\t%s\t%s\n", row->id, row->name, created);
}

static int key_list(struct store *store, const char *unused, struct err *err)
{
	(void)unused;
	return store_key_each(store, print_key, NULL, err);
}

static int key_revoke(struct store *store, const char *id, struct err *err)
{
	return store_key_revoke(store, id, err);
}

static const struct key_command {
	const char *name;
	int n_words;
	int (*run)(struct store *store, const char *argument, struct err *err);
} key_commands[] = {
	{"create", 2, key_create},
	{"list", 2, key_list},
	{"revoke", 3, key_revoke},
};

static const struct key_command *find_key_command(int n_words, char *const words[])
{
	for (size_t i = 0; i < NELEM(key_commands); i++) {
		if (strcmp(words[0], "key") == 0 && n_words == key_commands[i].n_words &&
			strcmp(words[1], key_commands[i].name) == 0)
			return &key_commands[i];
	}
	return NULL;
}

static int run_key(const struct config *config, int n_words, char *const words[], struct err *err)
{
	const struct key_command *command = find_key_command(n_words, words);
	const char *name = config->name == NULL ? "" : config->name;
	struct datadir dir;
	struct store *store;
	int rc;

	if (command == NULL)
		return err_set(err, ERR_USAGE, NULL, "expected: key create, key list or key revoke ID");
	rc = datadir_open(&dir, config->data_dir, false, err);
	if (rc != 0)
		return rc;
	rc = store_open(&store, config->data_dir, err);
	if (rc == 0) {
		rc = command->run(store, n_words == 3 ? words[2] : name, err);
		store_close(store);
	}
	datadir_close(&dir);
	return rc;
}

/* ---- the daemon ---- */

struct signals {
	uv_signal_t term, interrupt;
};

static void on_http_stopped(struct server *server)
{
	(void)server; /* the loop ends when nothing is left on it */
}

static void on_pool_stopped(struct server *server)
{
	(void)server;
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct server *server = handle->data;

	if (server->is_stopping)
		return;
	log_write(LOG_INFO, "stop", "%s", strsignal(number));
	server->is_stopping = true;
	http_stop(server->http, on_http_stopped);
	pool_stop(server->pool, on_pool_stopped);
}

static void watch_signal(uv_signal_t *handle, struct server *server, int number)
{
	uv_signal_init(server->loop, handle);
	handle->data = server;
	uv_signal_start(handle, on_signal, number);
	uv_unref((uv_handle_t *)handle);
}

static void close_signals(struct signals *signals, uv_loop_t *loop)
{
	uv_close((uv_handle_t *)&signals->term, NULL);
	uv_close((uv_handle_t *)&signals->interrupt, NULL);
	uv_run(loop, UV_RUN_DEFAULT);
}

static void serve_loop(struct server *server)
{
	struct signals signals;
	struct upkeep upkeep;

	upkeep_start(&upkeep, server->loop, server->store);
	watch_signal(&signals.term, server, SIGTERM);
	watch_signal(&signals.interrupt, server, SIGINT);
	printf("obliviated listening on http://%s\n", http_address(server->http));
	fflush(stdout);
	uv_run(server->loop, UV_RUN_DEFAULT);
	upkeep_stop(&upkeep);
	close_signals(&signals, server->loop);
	http_free(server->http);
	log_write(LOG_INFO, "stop", "stopped");
}

/* The pool claims nothing before the loop runs. */
static int serve_pool(struct server *server, struct err *err)
{
	int rc = pool_start(&server->pool, server, err);

	if (rc != 0)
		return rc;
	rc = http_start(&server->http, server, err);
	if (rc == 0) {
		serve_loop(server);
	} else {
		pool_stop(server->pool, on_pool_stopped);
		uv_run(server->loop, UV_RUN_DEFAULT);
	}
	pool_free(server->pool);
	return rc;
}

static int serve_store(struct server *server, struct err *err)
{
	int rc = store_open(&server->store, server->config->data_dir, err);

	if (rc == 0)
		rc = files_sweep(server, err);
	if (rc == 0)
		rc = models_sweep(server, err);
	if (rc == 0)
		rc = serve_pool(server, err);
	store_close(server->store);
	return rc;
}

static int serve(const struct config *config, struct err *err)
{
	struct server server = {.config = config, .started_at = time(NULL)};
	uv_loop_t loop;
	int rc;

	if (uv_loop_init(&loop) != 0)
		return err_nomem(err);
	server.loop = &loop;
	rc = datadir_open(&server.dir, config->data_dir, true, err);
	if (rc == 0) {
		rc = serve_store(&server, err);
		datadir_close(&server.dir);
	}
	uv_loop_close(&loop);
	return rc;
}

static void set_log_level(const char *name)
{
	static const char *const names[] = {"debug", "info", "warn", "error"};

	for (size_t i = 0; i < NELEM(names); i++) {
		if (strcmp(names[i], name) == 0)
			log_set_level((enum log_level)i);
	}
}

int main(int argc, char *argv[])
{
	struct config config;
	struct err err = {0};
	int n_words = 0, rc;

	umask(077);
	signal(SIGPIPE, SIG_IGN);
	rc = server_config_read(&config, &n_words, argc, argv, &err);
	if (rc == 0 && config.help) {
		print_help();
	} else if (rc == 0 && config.version) {
		printf("obliviated %s\n", OBLIVIATE_VERSION);
	} else if (rc == 0) {
		set_log_level(config.log_level);
		rc = n_words > 0 ? run_key(&config, n_words, argv + 1, &err) : serve(&config, &err);
	}
	server_config_done(&config);
	return rc == 0 ? 0 : report(&err);
}
