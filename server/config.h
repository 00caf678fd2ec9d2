/*
 * config: the daemon's settings: one const table over common/options, and what is checked and filled in beyond it.
 */
#ifndef OBLIVIATE_SERVER_CONFIG_H
#define OBLIVIATE_SERVER_CONFIG_H

#include "common/err.h"

struct config {
	bool help, version;
	char *data_dir;
	char *listen;	     /* host:port or [host]:port; port 0 takes a free one */
	char *allowed_hosts; /* further names of the daemon, comma-separated: behind a proxy, in a container */
	char *worker;	     /* path of obliviate-worker */
	char *sandbox;	     /* require, auto, off: handed to the worker */
	char *config;
	char *log_level;
	char *name;		  /* key create */
	int64_t workers;	  /* processes at once */
	int64_t threads;	  /* of each worker */
	int64_t max_upload_bytes; /* of one file or model */
	int64_t max_queue;	  /* jobs waiting */
	int64_t job_time_limit;	  /* seconds */
	int64_t stop_grace;	  /* seconds between SIGTERM and SIGKILL of a worker */
	int64_t client_timeout;	  /* seconds that a silent or crawling client is given */
	int64_t max_connections;
};

/*
 * Read flags, environment and file; *n_words operands ("key", "revoke", id) end up in argv[1..]. Every text but data_dir,
 * config and name is set afterwards, and data_dir too unless help or version is. ERR_USAGE names the culprit.
 */
int server_config_read(struct config *out, int *n_words, int argc, char **argv, struct err *err) MUST_USE;
void server_config_done(struct config *config);
/* The table on stdout, for --help. */
void server_config_help(void);

#endif
