/*
 * migrate: brings a database to the schema of this binary.
 *
 * migrations/NNNN_name.sql are built in (assets.h), numbered from 1 without gaps. Each runs once, in a transaction
 * of its own together with PRAGMA user_version and its row in schema_migrations, which keeps its SHA-256. A
 * database that is newer than the binary, or whose history differs from the binary's, is refused untouched.
 */
#ifndef OBLIVIATE_MIGRATE_H
#define OBLIVIATE_MIGRATE_H

#include <sqlite3.h>

#include "common/err.h"
#include "server/assets.h"

/* `table` is assets, or a test's own; entries outside migrations/ are passed over. */
int migrate_run(sqlite3 *db, const struct asset *table, struct err *err) MUST_USE;

#endif
