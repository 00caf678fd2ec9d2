/*
 * store: the database, one SQLite file. No other module sees SQLite (but migrate.c and the store_*.c beside
 * it, which share store_internal.h and the statements of store_sql.h).
 *
 * WAL, synchronous=FULL: what a function wrote is on disk when it (or the outermost store_commit) returns, unless the
 * transaction was begun with store_begin_unsynced. Every function is its own transaction unless the caller opened one. Times are seconds since 1970.
 * ERR_NOT_FOUND where a row is missing. Rows are read into the caller's structs, nothing is borrowed from SQLite.
 */
#ifndef OBLIVIATE_STORE_H
#define OBLIVIATE_STORE_H

#include "common/err.h"
#include "common/json.h"
#include "common/sha256.h"
#include "server/rows.h"

struct store;

enum {
	STORE_ID_BYTES = 64,	/* an id of ours and NUL; fine-tuned model names take STORE_NAME_BYTES */
	STORE_NAME_BYTES = 512, /* file name, path, model name */
};

/* Open dirfd/obliviate.db of the data directory at `path`, migrate, prepare every statement. */
int store_open(struct store **out, const char *path, struct err *err) MUST_USE;
void store_close(struct store *store);

/* Nested calls make savepoints; only the outermost commit writes. */
int store_begin(struct store *store, struct err *err) MUST_USE;
/*
 * The same for what nobody was promised (events): its commit does not wait for the disk. It outlives the daemon, also
 * after SIGKILL; a power failure may lose what was written so since the last synced commit, and nothing else. Within
 * another transaction it is as that one is.
 */
int store_begin_unsynced(struct store *store, struct err *err) MUST_USE;
int store_commit(struct store *store, struct err *err) MUST_USE;
void store_rollback(struct store *store);

/* Pages in the write-ahead log when it was last written to. */
int store_log_pages(const struct store *store);
/* Move the log into the database. Blocks; the one function that may run on another thread beside all others. */
int store_checkpoint(struct store *store, struct err *err) MUST_USE;

/* A page of a list, newest first unless is_ascending. `after` is "" for the first page. */
struct page {
	int limit;
	bool is_ascending;
	char after[STORE_NAME_BYTES];
	int64_t after_seq; /* instead of `after`, where the list is read in several parts: rows->last_seq; 0: none */
};

/* ---- files ---- */

struct file_row {
	char id[STORE_ID_BYTES];
	char filename[STORE_NAME_BYTES];
	char purpose[32];
	char sha256[SHA256_HEX_BYTES];
	char job_id[STORE_ID_BYTES]; /* of a result; "" for uploads */
	int64_t bytes;
	int64_t created_at;
};

int store_file_add(struct store *store, const struct file_row *row, struct err *err) MUST_USE;
int store_file_get(struct file_row *out, struct store *store, const char *id, struct err *err) MUST_USE;
/* ERR_IN_USE while an unfinished job needs it. */
int store_file_delete(struct store *store, const char *id, struct err *err) MUST_USE;
/* Append the file objects of a page; purpose NULL: all. Unknown `after`: ERR_NOT_FOUND. */
int store_file_list(struct rows *rows, struct store *store, const struct page *page, const char *purpose,
	struct err *err) MUST_USE;
/* Append the ids of a job's results, oldest first, as a JSON array. */
int store_file_ids_of_job(struct buf *out, struct store *store, const char *job_id, struct err *err) MUST_USE;
/* Append the file object of the interface. */
void file_write(struct buf *out, const struct file_row *row);

/* ---- models ---- */

struct model_file {
	char path[STORE_NAME_BYTES + 1];
	char sha256[SHA256_HEX_BYTES];
	int64_t bytes;
};

struct model_row {
	char id[STORE_NAME_BYTES]; /* model-<24 hex>, or ft:<model>:<suffix>:<job> */
	char sha256[SHA256_HEX_BYTES];
	char job_id[STORE_ID_BYTES]; /* of a fine-tuned model (has no directory); "" for base models */
	int64_t bytes;
	int64_t created_at;
	const struct model_file *files; /* for store_model_add; sorted by path */
	size_t n_files;
};

int store_model_add(struct store *store, const struct model_row *row, struct err *err) MUST_USE;
/* Without the files. */
int store_model_get(struct model_row *out, struct store *store, const char *id, struct err *err) MUST_USE;
/* ERR_IN_USE while an unfinished job needs it. */
int store_model_delete(struct store *store, const char *id, struct err *err) MUST_USE;
int store_model_list(
	json_t *data, bool *has_more, struct store *store, const struct page *page, struct err *err) MUST_USE;
/* The model object with its files; new reference. */
int store_model_object(json_t **out, struct store *store, const char *id, struct err *err) MUST_USE;

/* ---- API keys (secrets are made and checked in auth.c; only hashes come here) ---- */

struct key_row {
	char id[STORE_ID_BYTES];
	char name[256];
	char hash[SHA256_HEX_BYTES];
	int64_t created_at;
	bool is_revoked;
};

int store_key_add(struct store *store, const struct key_row *row, struct err *err) MUST_USE;
int store_key_get(struct key_row *out, struct store *store, const char *id, struct err *err) MUST_USE;
int store_key_revoke(struct store *store, const char *id, struct err *err) MUST_USE;
/* Was a key ever made? Revoked ones count: revoking the last key must not open the door. */
int store_key_exists(bool *out, struct store *store, struct err *err) MUST_USE;
int store_key_each(struct store *store, void (*each)(void *arg, const struct key_row *row), void *arg,
	struct err *err) MUST_USE;

/* ---- idempotency ---- */

struct answer_row {
	char fingerprint[SHA256_HEX_BYTES];
	int status;
	struct buf body; /* JSON; the caller's to buf_done */
};

/* ERR_NOT_FOUND when this key was not used in the last 24 hours. */
int store_answer_get(struct answer_row *out, struct store *store, const char *api_key, const char *key,
	struct err *err) MUST_USE;
/* Keep the answer, forget those older than 24 hours. */
int store_answer_put(struct store *store, const char *api_key, const char *key, const char *fingerprint,
	int status, const char *body, size_t len, struct err *err) MUST_USE;

#endif
