#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "server/migrate.h"

#define ASSET(path, sql)                                                                                     \
	{                                                                                                    \
		path, (const unsigned char *)(sql), sizeof(sql) - 1                                          \
	}

static const char first[] = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1);";
static const char second[] = "CREATE TABLE b (y TEXT) STRICT; INSERT INTO a VALUES (2);";
static const char broken[] =
	"CREATE TABLE b (y TEXT) STRICT; INSERT INTO a VALUES (3); INSERT INTO nowhere VALUES (1);";

static const struct asset one[] = {ASSET("migrations/0001_a.sql", first), ASSET("server/web/x.js", "x"), {0}};
static const struct asset two[] = {
	ASSET("migrations/0001_a.sql", first), ASSET("migrations/0002_b.sql", second), {0}};
static const struct asset bad[] = {
	ASSET("migrations/0001_a.sql", first), ASSET("migrations/0002_b.sql", broken), {0}};
static const struct asset gap[] = {
	ASSET("migrations/0001_a.sql", first), ASSET("migrations/0003_b.sql", second), {0}};
static const struct asset changed[] = {ASSET("migrations/0001_a.sql", second), {0}};

static int ask(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *stmt;
	int value;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	value = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return value;
}

static int open_db(void **state)
{
	return sqlite3_open(":memory:", (sqlite3 **)state) == SQLITE_OK ? 0 : -1;
}

static int close_db(void **state)
{
	return sqlite3_close(*state) == SQLITE_OK ? 0 : -1;
}

static void test_each_migration_runs_once(void **state)
{
	struct err err;

	assert_int_equal(migrate_run(*state, one, &err), 0);
	assert_int_equal(ask(*state, "PRAGMA user_version"), 1);
	assert_int_equal(migrate_run(*state, two, &err), 0);
	assert_int_equal(migrate_run(*state, two, &err), 0);
	assert_int_equal(ask(*state, "PRAGMA user_version"), 2);
	assert_int_equal(ask(*state, "SELECT count(*) FROM a"), 2);
	assert_int_equal(ask(*state, "SELECT count(*) FROM schema_migrations WHERE length(sha256) = 64"), 2);
}

static void test_a_broken_migration_leaves_the_schema_before_it(void **state)
{
	struct err err;

	assert_int_equal(migrate_run(*state, bad, &err), -ERR_INTERNAL);
	assert_string_equal(err.where, "migrations/0002_b.sql");
	assert_int_equal(ask(*state, "PRAGMA user_version"), 1);
	assert_int_equal(ask(*state, "SELECT count(*) FROM a"), 1);
	assert_int_equal(ask(*state, "SELECT count(*) FROM sqlite_schema WHERE name = 'b'"), 0);
	assert_int_equal(migrate_run(*state, two, &err), 0);
}

static void test_a_changed_migration_is_refused(void **state)
{
	struct err err;

	assert_int_equal(migrate_run(*state, one, &err), 0);
	assert_int_equal(migrate_run(*state, changed, &err), -ERR_INVALID_DATA);
	assert_int_equal(ask(*state, "SELECT count(*) FROM a"), 1);
}

static void test_a_newer_database_is_refused(void **state)
{
	struct err err;

	assert_int_equal(migrate_run(*state, two, &err), 0);
	assert_int_equal(migrate_run(*state, one, &err), -ERR_INVALID_DATA);
	assert_non_null(strstr(err.text, "newer"));
}

static void test_numbers_have_no_gaps(void **state)
{
	struct err err;

	assert_int_equal(migrate_run(*state, gap, &err), -ERR_INTERNAL);
	assert_int_equal(ask(*state, "PRAGMA user_version"), 1);
}

static void test_the_built_in_migrations_run(void **state)
{
	struct err err;

	assert_int_equal(migrate_run(*state, assets, &err), 0);
	assert_true(ask(*state, "PRAGMA user_version") >= 1);
	assert_int_equal(
		ask(*state, "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND strict = 0"
			    " AND name NOT LIKE 'sqlite%'"),
		0);
}

/* What the first version wrote is found by its metadata after the second migration. */
static void test_the_metadata_of_old_jobs_can_be_looked_up(void **state)
{
	const struct asset first_only[] = {assets[0], {0}};
	struct err err;

	assert_int_equal(migrate_run(*state, first_only, &err), 0);
	assert_int_equal(sqlite3_exec(*state,
				 "INSERT INTO jobs (id, created_at, spec, metadata) VALUES ('a', 1, '{}', "
				 "'{\"k\": \"v\"}'),"
				 " ('b', 1, '{}', '{}')",
				 NULL, NULL, NULL),
		SQLITE_OK);
	assert_int_equal(migrate_run(*state, assets, &err), 0);
	assert_int_equal(ask(*state, "SELECT count(*) FROM job_metadata"), 1);
	assert_int_equal(
		ask(*state,
			"SELECT count(*) FROM job_metadata WHERE key = 'k' AND value = 'v' AND job_seq = 1"),
		1);
	assert_int_equal(ask(*state, "SELECT count(*) FROM jobs WHERE view IS NULL"), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_migration_runs_once, open_db, close_db),
		cmocka_unit_test_setup_teardown(
			test_a_broken_migration_leaves_the_schema_before_it, open_db, close_db),
		cmocka_unit_test_setup_teardown(test_a_changed_migration_is_refused, open_db, close_db),
		cmocka_unit_test_setup_teardown(test_a_newer_database_is_refused, open_db, close_db),
		cmocka_unit_test_setup_teardown(test_numbers_have_no_gaps, open_db, close_db),
		cmocka_unit_test_setup_teardown(test_the_built_in_migrations_run, open_db, close_db),
		cmocka_unit_test_setup_teardown(
			test_the_metadata_of_old_jobs_can_be_looked_up, open_db, close_db),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
