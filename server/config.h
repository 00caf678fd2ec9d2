/*
 * config: the daemon's options. One const table (config.c) holds name, kind, range, default and sentence; flags
 * come first, then the environment (OBLIVIATE_ and the name in capitals), then the config file (JSON, keys =
 * flag names). What the table does not know is refused.
 */
#ifndef OBLIVIATE_CONFIG_H
#define OBLIVIATE_CONFIG_H

#include "common/err.h"

enum sandbox_mode { SANDBOX_REQUIRE, SANDBOX_AUTO, SANDBOX_OFF };

struct config {
	char data_dir[4096];
	char listen[256]; /* host:port, [host]:port */
	char allowed_hosts
		[1024];	   /* further names of the daemon, comma-separated: behind a proxy, in a container */
	char worker[4096]; /* path of obliviate-worker; default: beside the daemon */
	char sandbox[16];  /* require, auto, off: handed to the worker */
	char config_file[4096];
	char log_level[16];
	int64_t workers;	  /* processes at once; default 1 */
	int64_t threads;	  /* of each worker; default: cores / workers */
	int64_t max_upload_bytes; /* of one file or model */
	int64_t max_queue;	  /* jobs waiting */
	int64_t job_time_limit_s;
	int64_t stop_grace_s;	  /* between SIGTERM and SIGKILL of a worker */
	int64_t client_timeout_s; /* of a silent or crawling client */
	int64_t max_connections;
};

/* Fill from argv[0..argc) (flags only), environment and file. ERR_USAGE names the flag, the variable or the key. */
int config_load(struct config *out, int argc, char *const argv[], struct err *err) MUST_USE;
/* The options, a line each, for --help. */
void config_print_help(void);

#endif
