#include "server/migrate.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "common/sha256.h"
#include "server/store_internal.h"

static const char prefix[] = "migrations/";

static bool is_migration(const struct asset *asset)
{
	return strncmp(asset->path, prefix, sizeof(prefix) - 1) == 0;
}

static int exec(sqlite3 *db, const char *sql, const char *where, struct err *err)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : store_fault(db, where, err);
}

static int user_version(int *out, sqlite3 *db, struct err *err)
{
	sqlite3_stmt *stmt;

	if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &stmt, NULL) != SQLITE_OK)
		return store_fault(db, "user_version", err);
	if (sqlite3_step(stmt) != SQLITE_ROW) {
		sqlite3_finalize(stmt);
		return store_fault(db, "user_version", err);
	}
	*out = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return 0;
}

/* The recorded digest of a migration that was applied; "" when there is no row. */
static int recorded_digest(char out[SHA256_HEX_BYTES], sqlite3 *db, int version, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = 0, step;

	if (sqlite3_prepare_v2(db, "SELECT sha256 FROM schema_migrations WHERE version = ?", -1, &stmt,
		    NULL) != SQLITE_OK)
		return store_fault(db, "schema_migrations", err);
	out[0] = '\0';
	sqlite3_bind_int(stmt, 1, version);
	step = sqlite3_step(stmt);
	if (step == SQLITE_ROW)
		store_text(out, SHA256_HEX_BYTES, stmt, 0);
	else if (step != SQLITE_DONE)
		rc = store_fault(db, "schema_migrations", err);
	sqlite3_finalize(stmt);
	return rc;
}

static int record(sqlite3 *db, int version, const char *name, const char *digest, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc;

	if (sqlite3_prepare_v2(db,
		    "INSERT INTO schema_migrations (version, name, sha256, applied_at) VALUES (?, ?, ?, ?)",
		    -1, &stmt, NULL) != SQLITE_OK)
		return store_fault(db, name, err);
	sqlite3_bind_int(stmt, 1, version);
	sqlite3_bind_text(stmt, 2, name, -1, SQLITE_STATIC);
	sqlite3_bind_text(stmt, 3, digest, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 4, time(NULL));
	rc = sqlite3_step(stmt) == SQLITE_DONE ? 0 : store_fault(db, name, err);
	sqlite3_finalize(stmt);
	return rc;
}

/* The asset's text is NUL-terminated (deploy/embed.sh puts a 0 after each). */
static int apply(sqlite3 *db, int version, const struct asset *asset, const char *digest, struct err *err)
{
	char pragma[64];
	int rc = exec(db, (const char *)asset->data, asset->path, err);

	sqlite3_snprintf(sizeof(pragma), pragma, "PRAGMA user_version = %d", version);
	if (rc == 0)
		rc = record(db, version, asset->path, digest, err);
	if (rc == 0)
		rc = exec(db, pragma, asset->path, err);
	if (rc == 0)
		log_write(LOG_INFO, "migrate", "applied %s", asset->path);
	return rc;
}

/* One migration, inside the caller's transaction: check that it is the one that ran, or run it. */
static int check_or_apply(sqlite3 *db, int version, int applied, const struct asset *asset, struct err *err)
{
	char digest[SHA256_HEX_BYTES], known[SHA256_HEX_BYTES];
	int rc;

	if (atoi(asset->path + sizeof(prefix) - 1) != version)
		return err_set(err, ERR_INTERNAL, asset->path, "expected migration number %d", version);
	rc = sha256_of(digest, asset->data, asset->len, err);
	if (rc != 0)
		return rc;
	if (version > applied)
		return apply(db, version, asset, digest, err);
	rc = recorded_digest(known, db, version, err);
	if (rc == 0 && strcmp(known, digest) != 0)
		rc = err_set(err, ERR_INVALID_DATA, asset->path,
			"the database was made with another version of this migration");
	return rc;
}

static int run_locked(sqlite3 *db, int version, const struct asset *asset, struct err *err)
{
	int applied = 0, rc;

	/* Immediate: `key create` beside a starting daemon must wait here, not fail later. */
	rc = exec(db, "BEGIN IMMEDIATE", asset->path, err);
	if (rc != 0)
		return rc;
	rc = user_version(&applied, db, err);
	if (rc == 0)
		rc = check_or_apply(db, version, applied, asset, err);
	if (rc == 0)
		rc = exec(db, "COMMIT", asset->path, err);
	if (rc != 0)
		(void)exec(db, "ROLLBACK", asset->path, NULL);
	return rc;
}

int migrate_run(sqlite3 *db, const struct asset *table, struct err *err)
{
	int version = 0, applied = 0, rc;

	rc = exec(db,
		"CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, name TEXT NOT "
		"NULL,"
		" sha256 TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT",
		"schema_migrations", err);
	for (const struct asset *asset = table; rc == 0 && asset->path != NULL; asset++) {
		if (is_migration(asset))
			rc = run_locked(db, ++version, asset, err);
	}
	if (rc == 0)
		rc = user_version(&applied, db, err);
	if (rc == 0 && applied > version)
		rc = err_set(err, ERR_INVALID_DATA, "user_version",
			"the database has schema %d, this program knows %d: it was written by a newer "
			"version",
			applied, version);
	return rc;
}
