/*
 * store_internal: for store.c and the store_*.c beside it alone: statements, binding, stepping.
 *
 * A statement is used as
 *
 *     sqlite3_stmt *row;
 *     int rc = store_query(&row, store, SQL_FILE_GET, err, "s", id);
 *     while (rc == 0 && (rc = store_next(row, err)) == STORE_ROW) { ... sqlite3_column_* ...; rc = 0; }
 *     sqlite3_reset(row);
 *
 * or, where no row or at most one comes back, with store_run and store_one.
 */
#ifndef OBLIVIATE_STORE_INTERNAL_H
#define OBLIVIATE_STORE_INTERNAL_H

#include <sqlite3.h>

#include "server/store.h"
#include "server/store_sql.h"

enum store_sql {
#define X(id, sql) id,
	STORE_SQL(X)
#undef X
		SQL_COUNT
};

enum { STORE_ROW = 1 };

struct store {
	sqlite3 *db;
	sqlite3_stmt *stmts[SQL_COUNT];
	int depth; /* of open transactions */
	bool is_unsynced;
	int log_pages;
	sqlite3 *checkpointer; /* a connection of its own, for store_checkpoint's thread */
};

/*
 * Reset the statement and bind by format, a letter a parameter: 's' const char * (NULL: null), 'e' the same with ""
 * as null, 'i' int64_t, 'd' double, 'b' const void * and size_t, 'j' json_t * as compact text (NULL: null), 'n' null (no argument).
 */
int store_query(sqlite3_stmt **out, struct store *store, enum store_sql id, struct err *err, const char *fmt,
	...) MUST_USE;
/* STORE_ROW, 0 at the end, or an error. */
int store_next(sqlite3_stmt *stmt, struct err *err) MUST_USE;
/* Bind, run to the end, reset. *changes (may be NULL): rows that changed. */
int store_run(
	struct store *store, enum store_sql id, int *changes, struct err *err, const char *fmt, ...) MUST_USE;
/* Bind and step once: STORE_ROW with *out on the row (sqlite3_reset it), 0 when there is none, or an error. */
int store_one(sqlite3_stmt **out, struct store *store, enum store_sql id, struct err *err, const char *fmt,
	...) MUST_USE;
/* Column as text into out, cut at len; null gives "". */
void store_text(char *out, size_t len, sqlite3_stmt *row, int column);
/* Column with JSON as a new reference; NULL for null. */
json_t *store_json(sqlite3_stmt *row, int column);
/* The spec of a job in a column. Of store_job.c. */
struct spec;
int store_job_spec(struct spec *out, sqlite3_stmt *row, int column, struct err *err) MUST_USE;
/* Append to the text of an object: a number, a column as a string or null, a column that holds JSON. */
void store_write_integer(struct buf *out, int64_t value);
void store_write_text(struct buf *out, sqlite3_stmt *row, int column);
void store_write_json(struct buf *out, sqlite3_stmt *row, int column, const char *none);
/*
 * The seq after which a page begins: that of the object page->after, looked up with a statement that finds a row by
 * its id and has seq in seq_column; or the end that the order starts from. ERR_NOT_FOUND when unknown.
 */
int store_page_start(int64_t *start, struct store *store, enum store_sql by_id, int seq_column,
	const struct page *page, struct err *err) MUST_USE;
/* SQLite's last error as ERR_IO, ERR_DISK_FULL, ERR_UNAVAILABLE or ERR_INTERNAL. */
int store_fault(sqlite3 *db, const char *where, struct err *err);

#endif
