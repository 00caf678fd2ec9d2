/*
 * server: what the daemon consists of, for those who need more than their own part.
 *
 * One thread around one libuv loop; every module below runs on it, so nothing here is locked. Work that can take
 * 10 ms goes to libuv's thread pool and touches only what it was handed.
 *
 *   http     connections, requests, answers               routes -> api_files, api_models, api_jobs, api_meta
 *   store    the SQLite database: every row               store_*.c, statements in store_sql.h
 *   datadir  the data directory: every file               files/, models/, staging/, jobs/
 *   pool     worker processes: claims, progress, results  job directories
 *
 * A row is written after the bytes that it names are on disk, and removed before they are; what a crash
 * leaves without a row is swept at the next start.
 */
#ifndef OBLIVIATE_SERVER_H
#define OBLIVIATE_SERVER_H

#include <uv.h>

#include "server/config.h"
#include "server/datadir.h"

struct server {
	uv_loop_t *loop;
	const struct config *config;
	struct datadir dir;
	struct store *store;
	struct http *http;
	struct pool *pool;
	bool is_stopping;
	int64_t started_at; /* seconds since 1970 */
};

#endif
