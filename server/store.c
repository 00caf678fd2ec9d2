#include "server/store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/assets.h"
#include "server/migrate.h"
#include "server/store_internal.h"

enum { BUSY_TIMEOUT_MS = 5000 }; /* the only other writer is `obliviated key`, for milliseconds */

static const char *const statements[SQL_COUNT] = {
#define X(id, sql) [id] = sql,
	STORE_SQL(X)
#undef X
};

/* What SQLite's primary result codes are to us; ERR_INTERNAL where none fits. */
static const struct {
	int result;
	enum err_code code;
} faults[] = {
	{SQLITE_FULL, ERR_DISK_FULL},
	{SQLITE_IOERR, ERR_IO},
	{SQLITE_CANTOPEN, ERR_IO},
	{SQLITE_READONLY, ERR_IO},
	{SQLITE_NOTADB, ERR_INVALID_DATA},
	{SQLITE_CORRUPT, ERR_INVALID_DATA},
	{SQLITE_BUSY, ERR_UNAVAILABLE},
	{SQLITE_LOCKED, ERR_UNAVAILABLE},
	{SQLITE_NOMEM, ERR_NO_MEMORY},
};

int store_fault(sqlite3 *db, const char *where, struct err *err)
{
	int result = sqlite3_errcode(db) & 0xff;

	for (size_t i = 0; i < NELEM(faults); i++) {
		if (faults[i].result == result)
			return err_set(err, faults[i].code, where, "database: %s", sqlite3_errmsg(db));
	}
	return err_set(err, ERR_INTERNAL, where, "database: %s", sqlite3_errmsg(db));
}

static int exec(struct store *store, const char *sql, struct err *err)
{
	if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return store_fault(store->db, sql, err);
	return 0;
}

static int prepare_all(struct store *store, struct err *err)
{
	for (int id = 0; id < SQL_COUNT; id++) {
		if (sqlite3_prepare_v3(store->db, statements[id], -1, SQLITE_PREPARE_PERSISTENT,
			    &store->stmts[id], NULL) != SQLITE_OK)
			return store_fault(store->db, statements[id], err);
	}
	return 0;
}

static int connect(sqlite3 **out, const char *path, struct err *err)
{
	char name[4096 + 32];

	snprintf(name, sizeof(name), "%s/obliviate.db", path);
	if (sqlite3_open_v2(name, out, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
		    NULL) != SQLITE_OK)
		return *out == NULL ? err_nomem(err) : store_fault(*out, name, err);
	sqlite3_busy_timeout(*out, BUSY_TIMEOUT_MS);
	return 0;
}

/* Called by SQLite after each commit. */
static int note_log(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct store *store = arg;

	(void)db;
	(void)name;
	store->log_pages = pages;
	return SQLITE_OK;
}

static int open_file(struct store *store, const char *path, struct err *err)
{
	int rc = connect(&store->db, path, err);

	if (rc != 0)
		return rc;
	sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(store->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	sqlite3_db_config(store->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
	rc = exec(store, "PRAGMA journal_mode = WAL", err);
	if (rc == 0)
		rc = exec(store, "PRAGMA synchronous = FULL", err);
	if (rc == 0)
		rc = exec(store, "PRAGMA foreign_keys = ON", err);
	sqlite3_wal_hook(store->db, note_log, store); /* instead of checkpoints within commits: upkeep.h */
	return rc;
}

/* A connection that has read nothing yet does not know of the log, and would checkpoint nothing. */
static int connect_checkpointer(struct store *store, const char *path, struct err *err)
{
	static const char sql[] = "PRAGMA schema_version";
	int rc = connect(&store->checkpointer, path, err);

	if (rc == 0 && sqlite3_exec(store->checkpointer, sql, NULL, NULL, NULL) != SQLITE_OK)
		rc = store_fault(store->checkpointer, sql, err);
	return rc;
}

int store_open(struct store **out, const char *path, struct err *err)
{
	struct store *store = calloc(1, sizeof(*store));
	int rc;

	if (store == NULL)
		return err_nomem(err);
	rc = open_file(store, path, err);
	if (rc == 0)
		rc = migrate_run(store->db, assets, err);
	if (rc == 0)
		rc = prepare_all(store, err);
	if (rc == 0)
		rc = connect_checkpointer(store, path, err);
	if (rc != 0) {
		store_close(store);
		return rc;
	}
	*out = store;
	return 0;
}

void store_close(struct store *store)
{
	if (store == NULL)
		return;
	for (int id = 0; id < SQL_COUNT; id++)
		sqlite3_finalize(store->stmts[id]);
	sqlite3_close(store->checkpointer);
	sqlite3_close(store->db);
	free(store);
}

/* ---- transactions ---- */

/* After the outermost end of a transaction; within one SQLite would not take it. */
static void sync_again(struct store *store)
{
	if (store->depth == 0 && store->is_unsynced)
		store->is_unsynced = exec(store, "PRAGMA synchronous = FULL", NULL) != 0;
}

int store_begin(struct store *store, struct err *err)
{
	int rc = exec(store, store->depth == 0 ? "BEGIN IMMEDIATE" : "SAVEPOINT nested", err);

	if (rc == 0)
		store->depth++;
	return rc;
}

int store_begin_unsynced(struct store *store, struct err *err)
{
	int rc;

	if (store->depth > 0)
		return store_begin(store, err);
	rc = exec(store, "PRAGMA synchronous = NORMAL", err);
	store->is_unsynced = rc == 0;
	if (rc == 0)
		rc = store_begin(store, err);
	if (rc != 0)
		sync_again(store);
	return rc;
}

int store_commit(struct store *store, struct err *err)
{
	int rc = exec(store, store->depth == 1 ? "COMMIT" : "RELEASE nested", err);

	if (rc != 0) {
		store_rollback(store);
		return rc;
	}
	store->depth--;
	sync_again(store);
	return 0;
}

void store_rollback(struct store *store)
{
	/* After some faults (disk full) SQLite has rolled back by itself; then these fail, and that is fine. */
	if (store->depth == 1)
		(void)exec(store, "ROLLBACK", NULL);
	else
		(void)exec(store, "ROLLBACK TO nested; RELEASE nested", NULL);
	store->depth--;
	sync_again(store);
}

/* ---- the log ---- */

int store_log_pages(const struct store *store)
{
	return store->log_pages;
}

int store_checkpoint(struct store *store, struct err *err)
{
	if (sqlite3_wal_checkpoint_v2(store->checkpointer, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) !=
		SQLITE_OK)
		return store_fault(store->checkpointer, "checkpoint", err);
	return 0;
}

/* ---- statements ---- */

static int bind_json(sqlite3_stmt *stmt, int i, const json_t *value)
{
	struct buf text = {0};
	int result;

	if (value == NULL)
		return sqlite3_bind_null(stmt, i);
	json_write(&text, value);
	if (text.failed) {
		buf_done(&text);
		return SQLITE_NOMEM;
	}
	result = sqlite3_bind_text(stmt, i, text.data, (int)text.len, SQLITE_TRANSIENT);
	buf_done(&text);
	return result;
}

static int bind_text(sqlite3_stmt *stmt, int i, const char *text, bool empty_is_null)
{
	if (text == NULL || (empty_is_null && text[0] == '\0'))
		return sqlite3_bind_null(stmt, i);
	return sqlite3_bind_text(stmt, i, text, -1, SQLITE_TRANSIENT);
}

static int bind_blob(sqlite3_stmt *stmt, int i, const void *data, size_t len)
{
	return sqlite3_bind_blob64(stmt, i, data == NULL ? "" : data, len, SQLITE_TRANSIENT);
}

static int bind(sqlite3_stmt *stmt, const char *fmt, va_list ap)
{
	int result = SQLITE_OK;

	for (int i = 1; *fmt != '\0' && result == SQLITE_OK; fmt++, i++) {
		if (*fmt == 's' || *fmt == 'e')
			result = bind_text(stmt, i, va_arg(ap, const char *), *fmt == 'e');
		else if (*fmt == 'i')
			result = sqlite3_bind_int64(stmt, i, va_arg(ap, int64_t));
		else if (*fmt == 'd')
			result = sqlite3_bind_double(stmt, i, va_arg(ap, double));
		else if (*fmt == 'j')
			result = bind_json(stmt, i, va_arg(ap, const json_t *));
		else if (*fmt == 'n')
			result = sqlite3_bind_null(stmt, i);
		else if (*fmt == 'b') {
			const void *data = va_arg(ap, const void *);

			result = bind_blob(stmt, i, data, va_arg(ap, size_t));
		} else
			result = SQLITE_MISUSE;
	}
	return result;
}

static int query(sqlite3_stmt **out, struct store *store, enum store_sql id, struct err *err, const char *fmt,
	va_list ap)
{
	sqlite3_stmt *stmt = store->stmts[id];

	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	if (bind(stmt, fmt, ap) != SQLITE_OK)
		return store_fault(store->db, statements[id], err);
	*out = stmt;
	return 0;
}

int store_query(
	sqlite3_stmt **out, struct store *store, enum store_sql id, struct err *err, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = query(out, store, id, err, fmt, ap);
	va_end(ap);
	return rc;
}

int store_next(sqlite3_stmt *stmt, struct err *err)
{
	int result = sqlite3_step(stmt);

	if (result == SQLITE_ROW)
		return STORE_ROW;
	if (result == SQLITE_DONE)
		return 0;
	return store_fault(sqlite3_db_handle(stmt), sqlite3_sql(stmt), err);
}

int store_run(struct store *store, enum store_sql id, int *changes, struct err *err, const char *fmt, ...)
{
	sqlite3_stmt *stmt = NULL;
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = query(&stmt, store, id, err, fmt, ap);
	va_end(ap);
	if (rc != 0)
		return rc;
	do
		rc = store_next(stmt, err);
	while (rc == STORE_ROW);
	sqlite3_reset(stmt);
	if (rc == 0 && changes != NULL)
		*changes = sqlite3_changes(store->db);
	return rc;
}

int store_one(
	sqlite3_stmt **out, struct store *store, enum store_sql id, struct err *err, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = query(out, store, id, err, fmt, ap);
	va_end(ap);
	if (rc != 0)
		return rc;
	rc = store_next(*out, err);
	if (rc != STORE_ROW)
		sqlite3_reset(*out);
	return rc;
}

void store_text(char *out, size_t len, sqlite3_stmt *row, int column)
{
	const unsigned char *text = sqlite3_column_text(row, column);

	snprintf(out, len, "%s", text == NULL ? "" : (const char *)text);
}

json_t *store_json(sqlite3_stmt *row, int column)
{
	const void *text = sqlite3_column_text(row, column);
	json_t *value = NULL;

	if (text != NULL)
		(void)!json_parse(&value, text, (size_t)sqlite3_column_bytes(row, column), "database", NULL);
	return value;
}

/* ---- text of objects ---- */

void store_write_integer(struct buf *out, int64_t value)
{
	char digits[24];

	buf_add(out, digits, (size_t)snprintf(digits, sizeof(digits), "%lld", (long long)value));
}

void store_write_text(struct buf *out, sqlite3_stmt *row, int column)
{
	const unsigned char *text = sqlite3_column_text(row, column);

	if (text == NULL)
		buf_str(out, "null");
	else
		json_write_string(out, (const char *)text);
}

void store_write_json(struct buf *out, sqlite3_stmt *row, int column, const char *none)
{
	const unsigned char *text = sqlite3_column_text(row, column);

	if (text == NULL)
		buf_str(out, none);
	else
		buf_add(out, text, (size_t)sqlite3_column_bytes(row, column));
}

/* ---- lists ---- */

int store_page_start(int64_t *start, struct store *store, enum store_sql by_id, int seq_column,
	const struct page *page, struct err *err)
{
	sqlite3_stmt *row;
	int rc;

	*start = page->is_ascending ? 0 : INT64_MAX;
	if (page->after_seq != 0)
		*start = page->after_seq;
	if (page->after_seq != 0 || page->after[0] == '\0')
		return 0;
	rc = store_one(&row, store, by_id, err, "s", page->after);
	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND, "after", "no such object: '%s'", page->after);
	if (rc != STORE_ROW)
		return rc;
	*start = sqlite3_column_int64(row, seq_column);
	sqlite3_reset(row);
	return 0;
}
