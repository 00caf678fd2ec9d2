/*
 * config: the daemon's options. One const table (config.c) holds name, kind, range, default and sentence; flags
 * come first, then the environment (OBLIVIATE_ and the name in capitals), then the config file (JSON, keys =
 * flag names). What the table does not know is refused.
 */
#ifndef OBLIVIATE_CONFIG_H
#define OBLIVIATE_CONFIG_H

#include "common/err.h"

enum { CONFIG_WORDS_MAX = 4 };

struct config {
	char data_dir[4096];
	char listen[256]; /* host:port or [host]:port; port 0 takes a free one */
	char allowed_hosts
		[1024];	   /* further names of the daemon, comma-separated: behind a proxy, in a container */
	char worker[4096]; /* path of obliviate-worker */
	char sandbox[16];  /* require, auto, off: handed to the worker */
	char config[4096];
	char log_level[16];
	int64_t workers;	  /* processes at once */
	int64_t threads;	  /* of each worker */
	int64_t max_upload_bytes; /* of one file or model */
	int64_t max_queue;	  /* jobs waiting */
	int64_t job_time_limit;	  /* seconds */
	int64_t stop_grace;	  /* seconds between SIGTERM and SIGKILL of a worker */
	int64_t client_timeout;	  /* seconds that a silent or crawling client is given */
	int64_t max_connections;
	char name[256]; /* key create */

	const char *words[CONFIG_WORDS_MAX]; /* what is no flag: "key", "revoke", id; borrowed from argv */
	int n_words;
};

/*
 * Fill from argv[0..argc), the environment and the file. ERR_USAGE names the flag, the variable or the key that is
 * unknown, out of range or of no use to this command (words[0] is "key" or there is none).
 */
int config_load(struct config *out, int argc, char *const argv[], struct err *err) MUST_USE;
/* The options, a line each, on stdout, for --help. */
void config_print_options(void);

#endif
