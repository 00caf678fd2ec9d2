/* store: files, models, keys and kept answers on a real database file, reopened where it matters. Jobs have their own test. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/store_internal.h"
#include "scratch.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct fixture {
	struct scratch dir;
	struct store *store;
	struct err err;
};

static int set_up(void **state)
{
	static struct fixture fixture;

	fixture = (struct fixture){0};
	scratch_init(&fixture.dir);
	*state = &fixture;
	return store_open(&fixture.store, fixture.dir.path, &fixture.err);
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	store_close(fixture->store);
	scratch_done(&fixture->dir);
	return 0;
}

static void reopen(struct fixture *fixture)
{
	store_close(fixture->store);
	assert_int_equal(store_open(&fixture->store, fixture->dir.path, &fixture->err), 0);
}

static void add_file(struct fixture *fixture, const char *id)
{
	struct file_row row = {.purpose = "fine-tune", .filename = "a.jsonl", .sha256 = DIGEST, .bytes = 5};

	snprintf(row.id, sizeof(row.id), "%s", id);
	assert_int_equal(store_file_add(fixture->store, &row, &fixture->err), 0);
}

static bool has_file(struct fixture *fixture, const char *id)
{
	struct file_row row;
	int rc = store_file_get(&row, fixture->store, id, &fixture->err);

	assert_true(rc == 0 || rc == -ERR_NOT_FOUND);
	return rc == 0;
}

/* An unfinished (or finished) job that reads an object, put there by hand. */
static void add_job(struct fixture *fixture, const char *role, const char *object, bool is_finished)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
		"INSERT INTO jobs (id, created_at, spec, status, finished_at) VALUES ('job-%s', 1, '{}', "
		"'%s', %s);"
		"INSERT INTO job_inputs SELECT max(seq), '%s', '%s' FROM jobs",
		object, is_finished ? "failed" : "queued", is_finished ? "2" : "NULL", role, object);
	assert_int_equal(sqlite3_exec(fixture->store->db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* ---- files ---- */

static void test_a_file_comes_back_after_reopening(void **state)
{
	struct fixture *fixture = *state;
	struct file_row row = {.id = "file-1",
		.filename = "ü.csv",
		.purpose = "fine-tune-results",
		.sha256 = DIGEST,
		.job_id = "ftjob-1",
		.bytes = INT64_MAX,
		.created_at = 1234567890123};
	struct file_row back;

	assert_int_equal(store_file_add(fixture->store, &row, &fixture->err), 0);
	reopen(fixture);
	assert_int_equal(store_file_get(&back, fixture->store, "file-1", &fixture->err), 0);
	assert_memory_equal(&back, &row, sizeof(row));
}

static void test_what_the_schema_forbids_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct file_row row = {.id = "file-1", .purpose = "nonsense", .sha256 = DIGEST};

	assert_int_equal(store_file_add(fixture->store, &row, &fixture->err), -ERR_INTERNAL);
	snprintf(row.purpose, sizeof(row.purpose), "fine-tune");
	row.bytes = -1;
	assert_int_equal(store_file_add(fixture->store, &row, &fixture->err), -ERR_INTERNAL);
	row.bytes = 1;
	assert_int_equal(store_file_add(fixture->store, &row, &fixture->err), 0);
	assert_int_equal(store_file_add(fixture->store, &row, &fixture->err), -ERR_INTERNAL);
}

/* The objects of a page of files. */
static json_t *read_page(bool *has_more, struct fixture *fixture, const struct page *page)
{
	struct rows rows = {0};
	struct buf text = {0};
	json_t *list, *data;

	assert_int_equal(store_file_list(&rows, fixture->store, page, NULL, &fixture->err), 0);
	*has_more = rows.has_more;
	rows_finish(&text, &rows);
	list = json_loads(text.data, 0, NULL);
	data = json_incref(json_object_get(list, "data"));
	json_decref(list);
	buf_done(&text);
	return data;
}

static void test_pages_cover_a_list_without_gap_or_overlap(void **state)
{
	struct fixture *fixture = *state;

	for (int i = 0; i < 25; i++) {
		char id[24];

		snprintf(id, sizeof(id), "file-%02d", i);
		add_file(fixture, id);
	}
	for (int ascending = 0; ascending < 2; ascending++) {
		for (int limit = 1; limit < 30; limit++) {
			struct page page = {.limit = limit, .is_ascending = ascending};
			bool has_more = true;
			int seen = 0;

			while (has_more) {
				json_t *data = read_page(&has_more, fixture, &page), *file;
				size_t i;

				json_array_foreach(data, i, file)
				{
					int number = ascending ? seen : 24 - seen;

					snprintf(page.after, sizeof(page.after), "file-%02d", number);
					assert_string_equal(
						json_string_value(json_object_get(file, "id")), page.after);
					seen++;
				}
				json_decref(data);
			}
			assert_int_equal(seen, 25);
		}
	}
}

static void test_an_unknown_after_is_not_found(void **state)
{
	struct fixture *fixture = *state;
	struct page page = {.limit = 5, .after = "file-none"};
	struct rows rows = {0};

	assert_int_equal(store_file_list(&rows, fixture->store, &page, NULL, &fixture->err), -ERR_NOT_FOUND);
	assert_string_equal(fixture->err.where, "after");
	rows_done(&rows);
}

static void test_a_list_goes_on_where_its_last_row_was_deleted(void **state)
{
	struct fixture *fixture = *state;
	struct page page = {.limit = 2, .is_ascending = true};
	struct rows rows = {0};

	add_file(fixture, "file-a");
	add_file(fixture, "file-b");
	add_file(fixture, "file-c");
	assert_int_equal(store_file_list(&rows, fixture->store, &page, NULL, &fixture->err), 0);
	assert_true(rows.has_more);
	assert_int_equal(store_file_delete(fixture->store, "file-b", &fixture->err), 0);
	page.after_seq = rows.last_seq;
	assert_int_equal(store_file_list(&rows, fixture->store, &page, NULL, &fixture->err), 0);
	assert_false(rows.has_more);
	assert_int_equal(rows.n, 3);
	assert_string_equal(rows.last_id, "file-c");
	rows_done(&rows);
}

static void test_a_file_of_an_unfinished_job_stays(void **state)
{
	struct fixture *fixture = *state;

	add_file(fixture, "file-needed");
	add_file(fixture, "file-done");
	add_job(fixture, "test_file", "file-needed", false);
	add_job(fixture, "training_file", "file-done", true);
	assert_int_equal(store_file_delete(fixture->store, "file-needed", &fixture->err), -ERR_IN_USE);
	assert_true(has_file(fixture, "file-needed"));
	assert_int_equal(store_file_delete(fixture->store, "file-done", &fixture->err), 0);
	assert_false(has_file(fixture, "file-done"));
	assert_int_equal(store_file_delete(fixture->store, "file-done", &fixture->err), -ERR_NOT_FOUND);
}

/* ---- transactions ---- */

static void test_an_inner_rollback_keeps_the_outer_work(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(store_begin(fixture->store, &fixture->err), 0);
	add_file(fixture, "file-outer");
	assert_int_equal(store_begin(fixture->store, &fixture->err), 0);
	add_file(fixture, "file-inner");
	store_rollback(fixture->store);
	assert_int_equal(store_commit(fixture->store, &fixture->err), 0);
	reopen(fixture);
	assert_true(has_file(fixture, "file-outer"));
	assert_false(has_file(fixture, "file-inner"));
}

static void test_an_outer_rollback_undoes_inner_commits(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(store_begin(fixture->store, &fixture->err), 0);
	assert_int_equal(store_begin(fixture->store, &fixture->err), 0);
	add_file(fixture, "file-inner");
	assert_int_equal(store_commit(fixture->store, &fixture->err), 0);
	store_rollback(fixture->store);
	assert_false(has_file(fixture, "file-inner"));
	add_file(fixture, "file-after");
	assert_true(has_file(fixture, "file-after"));
}

static void test_two_programs_write_beside_each_other(void **state)
{
	struct fixture *fixture = *state;
	struct key_row key = {.id = "key-1", .name = "n", .hash = DIGEST, .created_at = 1};
	struct store *other;
	bool exists = true;

	assert_int_equal(store_key_exists(&exists, fixture->store, &fixture->err), 0);
	assert_false(exists);
	assert_int_equal(store_open(&other, fixture->dir.path, &fixture->err), 0);
	assert_int_equal(store_key_add(other, &key, &fixture->err), 0);
	store_close(other);
	assert_int_equal(store_key_exists(&exists, fixture->store, &fixture->err), 0);
	assert_true(exists);
	add_file(fixture, "file-1");
}

/* ---- models ---- */

static const struct model_file two_files[] = {
	{.path = "a/config.json", .sha256 = DIGEST, .bytes = 3},
	{.path = "b.safetensors", .sha256 = DIGEST, .bytes = 4},
};

static int add_model(struct fixture *fixture, const char *id, const struct model_file *files, size_t n)
{
	struct model_row row = {.sha256 = DIGEST, .bytes = 7, .created_at = 99, .files = files, .n_files = n};

	snprintf(row.id, sizeof(row.id), "%s", id);
	return store_model_add(fixture->store, &row, &fixture->err);
}

static void test_a_model_has_its_files(void **state)
{
	struct fixture *fixture = *state;
	struct buf text = {0};
	json_t *object;

	assert_int_equal(add_model(fixture, "model-1", two_files, 2), 0);
	assert_int_equal(store_model_object(&object, fixture->store, "model-1", &fixture->err), 0);
	json_write(&text, object);
	assert_string_equal(text.data,
		"{\"id\":\"model-1\",\"object\":\"model\",\"created\":99,\"owned_by\":\"user\",\"sha256\":"
		"\"" DIGEST
		"\",\"bytes\":7,\"files\":[{\"path\":\"a/config.json\",\"bytes\":3,\"sha256\":\"" DIGEST
		"\"},{\"path\":\"b.safetensors\",\"bytes\":4,\"sha256\":\"" DIGEST "\"}]}");
	buf_done(&text);
	json_decref(object);
}

static void test_a_model_is_added_whole_or_not_at_all(void **state)
{
	struct fixture *fixture = *state;
	const struct model_file twice[] = {two_files[0], two_files[0]};
	struct model_row row;

	assert_int_equal(add_model(fixture, "model-1", twice, 2), -ERR_INTERNAL);
	assert_int_equal(store_model_get(&row, fixture->store, "model-1", &fixture->err), -ERR_NOT_FOUND);
}

static void test_deleting_a_model_deletes_its_files(void **state)
{
	struct fixture *fixture = *state;
	json_t *object;

	assert_int_equal(add_model(fixture, "model-1", two_files, 2), 0);
	add_job(fixture, "model", "model-1", false);
	assert_int_equal(store_model_delete(fixture->store, "model-1", &fixture->err), -ERR_IN_USE);
	assert_int_equal(sqlite3_exec(fixture->store->db,
				 "UPDATE jobs SET status = 'cancelled', finished_at = 5", NULL, NULL, NULL),
		SQLITE_OK);
	assert_int_equal(store_model_delete(fixture->store, "model-1", &fixture->err), 0);
	assert_int_equal(add_model(fixture, "model-1", two_files, 1), 0);
	assert_int_equal(store_model_object(&object, fixture->store, "model-1", &fixture->err), 0);
	assert_int_equal(json_array_size(json_object_get(object, "files")), 1);
	json_decref(object);
}

/* ---- keys ---- */

static void count_key(void *arg, const struct key_row *row)
{
	(*(int *)arg)++;
}

static void test_a_revoked_key_is_unlisted_but_counts(void **state)
{
	struct fixture *fixture = *state;
	struct key_row key = {.id = "key-1", .name = "n", .hash = DIGEST, .created_at = 1}, back;
	bool exists = false;
	int n = 0;

	assert_int_equal(store_key_add(fixture->store, &key, &fixture->err), 0);
	assert_int_equal(store_key_revoke(fixture->store, "key-1", &fixture->err), 0);
	assert_int_equal(store_key_revoke(fixture->store, "key-1", &fixture->err), -ERR_NOT_FOUND);
	assert_int_equal(store_key_get(&back, fixture->store, "key-1", &fixture->err), 0);
	assert_true(back.is_revoked);
	assert_int_equal(store_key_each(fixture->store, count_key, &n, &fixture->err), 0);
	assert_int_equal(n, 0);
	assert_int_equal(store_key_exists(&exists, fixture->store, &fixture->err), 0);
	assert_true(exists);
}

/* ---- kept answers ---- */

static void test_an_answer_is_kept_for_a_day(void **state)
{
	struct fixture *fixture = *state;
	struct answer_row answer;
	sqlite3_stmt *stmt;

	assert_int_equal(store_answer_put(fixture->store, "", "k", DIGEST, 200, "a\0b", 3, &fixture->err), 0);
	assert_int_equal(store_answer_get(&answer, fixture->store, "", "k", &fixture->err), 0);
	assert_int_equal(answer.status, 200);
	assert_int_equal(answer.body.len, 3);
	assert_memory_equal(answer.body.data, "a\0b", 3);
	buf_done(&answer.body);
	assert_int_equal(
		store_answer_get(&answer, fixture->store, "key-1", "k", &fixture->err), -ERR_NOT_FOUND);

	assert_int_equal(sqlite3_exec(fixture->store->db,
				 "UPDATE idempotency SET created_at = created_at - 86401", NULL, NULL, NULL),
		SQLITE_OK);
	assert_int_equal(store_answer_get(&answer, fixture->store, "", "k", &fixture->err), -ERR_NOT_FOUND);
	assert_int_equal(store_answer_put(fixture->store, "", "l", DIGEST, 200, "", 0, &fixture->err), 0);
	assert_int_equal(
		sqlite3_prepare_v2(fixture->store->db, "SELECT count(*) FROM idempotency", -1, &stmt, NULL),
		SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	assert_int_equal(sqlite3_column_int(stmt, 0), 1);
	sqlite3_finalize(stmt);
}

/* ---- faults ---- */

static void test_a_full_database_says_so_and_goes_on(void **state)
{
	struct fixture *fixture = *state;
	struct file_row row = {.purpose = "fine-tune", .sha256 = DIGEST};
	int rc = 0;

	memset(row.filename, 'x', sizeof(row.filename) - 1);
	assert_int_equal(
		sqlite3_exec(fixture->store->db, "PRAGMA max_page_count = 60", NULL, NULL, NULL), SQLITE_OK);
	for (int i = 0; rc == 0 && i < 10000; i++) {
		snprintf(row.id, sizeof(row.id), "file-%d", i);
		rc = store_file_add(fixture->store, &row, &fixture->err);
	}
	assert_int_equal(rc, -ERR_DISK_FULL);
	assert_true(has_file(fixture, "file-0"));
	assert_int_equal(sqlite3_exec(fixture->store->db, "PRAGMA max_page_count = 100000", NULL, NULL, NULL),
		SQLITE_OK);
	assert_int_equal(store_file_add(fixture->store, &row, &fixture->err), 0);
}

static void test_a_full_database_within_a_transaction_is_rolled_back(void **state)
{
	struct fixture *fixture = *state;
	struct file_row row = {.purpose = "fine-tune", .sha256 = DIGEST};
	int rc = 0;

	memset(row.filename, 'x', sizeof(row.filename) - 1);
	assert_int_equal(
		sqlite3_exec(fixture->store->db, "PRAGMA max_page_count = 60", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(store_begin(fixture->store, &fixture->err), 0);
	for (int i = 0; rc == 0 && i < 10000; i++) {
		snprintf(row.id, sizeof(row.id), "file-%d", i);
		rc = store_file_add(fixture->store, &row, &fixture->err);
	}
	assert_int_equal(rc, -ERR_DISK_FULL);
	store_rollback(fixture->store);
	assert_false(has_file(fixture, "file-0"));
	assert_int_equal(store_begin(fixture->store, &fixture->err), 0);
	add_file(fixture, "file-after");
	assert_int_equal(store_commit(fixture->store, &fixture->err), 0);
	assert_true(has_file(fixture, "file-after"));
}

static int synchronous(struct fixture *fixture)
{
	sqlite3_stmt *stmt;
	int level;

	assert_int_equal(
		sqlite3_prepare_v2(fixture->store->db, "PRAGMA synchronous", -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	level = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return level;
}

enum { NORMAL = 1, FULL = 2 };

static void test_only_what_was_begun_so_is_unsynced(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(synchronous(fixture), FULL);
	assert_int_equal(store_begin_unsynced(fixture->store, &fixture->err), 0);
	assert_int_equal(synchronous(fixture), NORMAL);
	assert_int_equal(store_begin(fixture->store, &fixture->err), 0);
	add_file(fixture, "file-inner");
	assert_int_equal(store_commit(fixture->store, &fixture->err), 0);
	assert_int_equal(store_commit(fixture->store, &fixture->err), 0);
	assert_int_equal(synchronous(fixture), FULL);
	assert_int_equal(store_begin_unsynced(fixture->store, &fixture->err), 0);
	store_rollback(fixture->store);
	assert_int_equal(synchronous(fixture), FULL);
}

static void test_within_a_synced_transaction_everything_is_synced(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(store_begin(fixture->store, &fixture->err), 0);
	assert_int_equal(store_begin_unsynced(fixture->store, &fixture->err), 0);
	assert_int_equal(synchronous(fixture), FULL);
	add_file(fixture, "file-inner");
	assert_int_equal(store_commit(fixture->store, &fixture->err), 0);
	assert_int_equal(store_commit(fixture->store, &fixture->err), 0);
	assert_true(has_file(fixture, "file-inner"));
}

/* A process that commits and is killed before it can close anything. */
static void commit_and_die(const struct fixture *fixture)
{
	struct store *store;
	struct err err;
	struct file_row row = {.id = "file-last", .filename = "a", .purpose = "fine-tune", .sha256 = DIGEST};

	if (store_open(&store, fixture->dir.path, &err) == 0 && store_begin_unsynced(store, &err) == 0 &&
		store_file_add(store, &row, &err) == 0 && store_commit(store, &err) == 0)
		raise(SIGKILL);
	_exit(1);
}

static void test_an_unsynced_commit_outlives_a_killed_program(void **state)
{
	struct fixture *fixture = *state;
	pid_t child;
	int status;

	store_close(fixture->store);
	child = fork();
	if (child == 0)
		commit_and_die(fixture);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(store_open(&fixture->store, fixture->dir.path, &fixture->err), 0);
	assert_true(has_file(fixture, "file-last"));
}

static void test_a_checkpoint_empties_the_log(void **state)
{
	struct fixture *fixture = *state;
	char id[24];
	int before;

	for (int i = 0; i < 50; i++) {
		snprintf(id, sizeof(id), "file-%d", i);
		add_file(fixture, id);
	}
	before = store_log_pages(fixture->store);
	assert_true(before > 50);
	assert_int_equal(store_checkpoint(fixture->store, &fixture->err), 0);
	add_file(fixture, "file-after");
	assert_true(store_log_pages(fixture->store) < before);
	assert_true(has_file(fixture, "file-0"));
}

static void test_every_statement_uses_an_index(void **state)
{
	struct fixture *fixture = *state;
	static const enum store_sql ids[] = {SQL_FILE_GET, SQL_FILE_DELETE, SQL_FILE_OF_JOB, SQL_MODEL_GET,
		SQL_MODEL_DELETE, SQL_MODEL_FILES, SQL_KEY_GET, SQL_ANSWER_GET, SQL_ANSWER_FORGET,
		SQL_JOB_TEXT, SQL_JOB_NEWEST, SQL_JOB_OLDEST, SQL_JOB_FIND, SQL_EVENT_NEWEST,
		SQL_EVENT_OLDEST};

	for (size_t i = 0; i < NELEM(ids); i++) {
		char *sql =
			sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sqlite3_sql(fixture->store->stmts[ids[i]]));
		sqlite3_stmt *plan;

		assert_int_equal(sqlite3_prepare_v2(fixture->store->db, sql, -1, &plan, NULL), SQLITE_OK);
		while (sqlite3_step(plan) == SQLITE_ROW)
			assert_null(strstr((const char *)sqlite3_column_text(plan, 3), "SCAN"));
		sqlite3_finalize(plan);
		sqlite3_free(sql);
	}
}

#define IN_STORE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_STORE(test_a_file_comes_back_after_reopening),
		IN_STORE(test_what_the_schema_forbids_is_refused),
		IN_STORE(test_pages_cover_a_list_without_gap_or_overlap),
		IN_STORE(test_an_unknown_after_is_not_found),
		IN_STORE(test_a_list_goes_on_where_its_last_row_was_deleted),
		IN_STORE(test_a_file_of_an_unfinished_job_stays),
		IN_STORE(test_an_inner_rollback_keeps_the_outer_work),
		IN_STORE(test_an_outer_rollback_undoes_inner_commits),
		IN_STORE(test_two_programs_write_beside_each_other),
		IN_STORE(test_a_model_has_its_files),
		IN_STORE(test_a_model_is_added_whole_or_not_at_all),
		IN_STORE(test_deleting_a_model_deletes_its_files),
		IN_STORE(test_a_revoked_key_is_unlisted_but_counts),
		IN_STORE(test_an_answer_is_kept_for_a_day),
		IN_STORE(test_a_full_database_says_so_and_goes_on),
		IN_STORE(test_a_full_database_within_a_transaction_is_rolled_back),
		IN_STORE(test_only_what_was_begun_so_is_unsynced),
		IN_STORE(test_within_a_synced_transaction_everything_is_synced),
		IN_STORE(test_an_unsynced_commit_outlives_a_killed_program),
		IN_STORE(test_a_checkpoint_empties_the_log),
		IN_STORE(test_every_statement_uses_an_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
