/* store_job: rows of jobs, and which change of state is possible from where. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "server/store_internal.h"
#include "server/store_job.h"
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

static int64_t add_job(struct fixture *f, const char *id, const char *metadata)
{
	struct job_row job = {0};
	json_t *json = json_pack("{s:s, s:s, s:o}", "model", "model-a", "training_file", "file-a", "metadata",
		json_loads(metadata, 0, NULL));

	assert_int_equal(spec_parse(&job.spec, json, SPEC_API, &f->err), 0);
	json_decref(json);
	strcpy(job.spec.model.sha256, DIGEST);
	strcpy(job.spec.training_file.sha256, DIGEST);
	snprintf(job.id, sizeof(job.id), "%s", id);
	assert_int_equal(store_job_add(f->store, &job, &f->err), 0);
	job_row_done(&job);
	return job.seq;
}

static struct job_row get_job(struct fixture *f, const char *id)
{
	struct job_row job;

	assert_int_equal(store_job_get(&job, f->store, id, &f->err), 0);
	job_row_done(&job);
	return job;
}

static void claim(struct fixture *f, const char *id)
{
	struct job_row job;

	assert_int_equal(store_job_claim(&job, f->store, &f->err), 0);
	assert_string_equal(job.id, id);
	job_row_done(&job);
}

static void claim_nothing(struct fixture *f)
{
	struct job_row job;

	assert_int_equal(store_job_claim(&job, f->store, &f->err), -ERR_NOT_FOUND);
}

static void test_claim_takes_the_oldest_and_skips_running_jobs(void **state)
{
	struct fixture *f = *state;

	add_job(f, "a", "{}");
	add_job(f, "b", "{}");
	claim(f, "a");
	assert_int_equal(get_job(f, "a").status, JOB_VALIDATING);
	assert_true(get_job(f, "a").started_at > 0);
	claim(f, "b");
	claim_nothing(f);
}

static void test_claim_skips_paused_jobs_and_those_whose_worker_is_still_there(void **state)
{
	struct fixture *f = *state;
	int64_t seq = add_job(f, "a", "{}");

	claim(f, "a");
	assert_int_equal(store_job_pause(f->store, "a", &f->err), 0);
	assert_true(get_job(f, "a").is_stopping);
	claim_nothing(f);
	assert_int_equal(store_job_resume(f->store, "a", &f->err), 0);
	claim_nothing(f);
	assert_int_equal(store_job_stopped(f->store, seq, &f->err), 0);
	claim(f, "a");
}

static void test_a_requeued_job_comes_first_again_with_its_crashes(void **state)
{
	struct fixture *f = *state;
	int64_t seq = add_job(f, "a", "{}");

	add_job(f, "b", "{}");
	claim(f, "a");
	assert_int_equal(store_job_set_running(f->store, seq, &f->err), 0);
	assert_int_equal(store_job_requeue(f->store, seq, 2, 7, &f->err), 0);
	assert_int_equal(get_job(f, "a").crashes, 2);
	assert_int_equal(get_job(f, "a").crash_place, 7);
	claim(f, "a");
}

/* Every state that a job can be in, and which of the changes succeed there. */
static const struct {
	enum job_status from;
	bool pause, resume, cancel, fail, succeed;
} changes[] = {
	{JOB_QUEUED, true, false, true, true, true},
	{JOB_VALIDATING, true, false, true, true, true},
	{JOB_RUNNING, true, false, true, true, true},
	{JOB_PAUSED, false, true, true, true, true},
	{JOB_SUCCEEDED, false, false, false, false, false},
	{JOB_FAILED, false, false, false, false, false},
	{JOB_CANCELLED, false, false, false, false, false},
};

static const struct err failure = {ERR_INVALID_DATA, "training_file", "no rows"};

static void bring(struct fixture *f, const char *id, int64_t seq, enum job_status status)
{
	struct job_row job;

	if (status == JOB_VALIDATING || status == JOB_RUNNING) {
		assert_int_equal(store_job_claim(&job, f->store, &f->err), 0);
		job_row_done(&job);
	}
	if (status == JOB_RUNNING)
		assert_int_equal(store_job_set_running(f->store, seq, &f->err), 0);
	if (status == JOB_PAUSED)
		assert_int_equal(store_job_pause(f->store, id, &f->err), 0);
	if (status == JOB_SUCCEEDED)
		assert_int_equal(store_job_succeed(f->store, seq, "ft", 1, NULL, &f->err), 0);
	if (status == JOB_FAILED)
		assert_int_equal(store_job_fail(f->store, seq, &failure, &f->err), 0);
	if (status == JOB_CANCELLED)
		assert_int_equal(store_job_cancel(f->store, id, &f->err), 0);
	assert_int_equal(get_job(f, id).status, status);
}

static int apply(struct fixture *f, const char *id, int64_t seq, int change)
{
	switch (change) {
	case 0:
		return store_job_pause(f->store, id, &f->err);
	case 1:
		return store_job_resume(f->store, id, &f->err);
	case 2:
		return store_job_cancel(f->store, id, &f->err);
	case 3:
		return store_job_fail(f->store, seq, &failure, &f->err);
	default:
		return store_job_succeed(f->store, seq, "ft", 1, NULL, &f->err);
	}
}

static void test_each_change_starts_from_its_states_only(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < NELEM(changes); i++) {
		const bool allowed[] = {changes[i].pause, changes[i].resume, changes[i].cancel,
			changes[i].fail, changes[i].succeed};

		for (int change = 0; change < (int)NELEM(allowed); change++) {
			char id[32];
			int64_t seq;

			snprintf(id, sizeof(id), "job-%zu-%d", i, change);
			seq = add_job(f, id, "{}");
			bring(f, id, seq, changes[i].from);
			assert_int_equal(apply(f, id, seq, change), allowed[change] ? 0 : -ERR_BAD_STATE);
			if (!allowed[change])
				assert_int_equal(get_job(f, id).status, changes[i].from);
			if (!job_is_finished(
				    get_job(f, id).status)) /* so that the next claim is not of this one */
				assert_int_equal(store_job_cancel(f->store, id, &f->err), 0);
		}
	}
}

static void test_a_failure_keeps_code_message_and_parameter(void **state)
{
	struct fixture *f = *state;
	int64_t seq = add_job(f, "a", "{}");
	struct job_row job;

	assert_int_equal(store_job_fail(f->store, seq, &failure, &f->err), 0);
	job = get_job(f, "a");
	assert_int_equal(job.error.code, ERR_INVALID_DATA);
	assert_string_equal(job.error.where, "training_file");
	assert_string_equal(job.error.text, "no rows");
	assert_true(job.finished_at > 0);
}

static size_t count_listed(struct fixture *f, const char *metadata)
{
	struct page page = {.limit = 10};
	json_t *filter = json_loads(metadata, 0, NULL);
	struct rows rows = {0};

	assert_int_equal(store_job_list(&rows, f->store, &page, filter, &f->err), 0);
	rows_done(&rows);
	json_decref(filter);
	return rows.n;
}

static void test_a_list_is_filtered_by_every_pair(void **state)
{
	struct fixture *f = *state;

	add_job(f, "a", "{\"team\": \"x\", \"a.b\\\"c\": \"1\"}");
	add_job(f, "b", "{\"team\": \"y\"}");
	assert_int_equal(count_listed(f, "{\"team\": \"x\"}"), 1);
	assert_int_equal(count_listed(f, "{\"team\": \"x\", \"a.b\\\"c\": \"1\"}"), 1);
	assert_int_equal(count_listed(f, "{\"team\": \"x\", \"other\": \"1\"}"), 0);
	assert_int_equal(count_listed(f, "{}"), 2);
}

static void test_filtered_pages_cover_the_list(void **state)
{
	struct fixture *f = *state;
	json_t *filter = json_loads("{\"team\": \"x\", \"all\": \"1\"}", 0, NULL);
	char id[16];

	for (int i = 0; i < 9; i++) {
		snprintf(id, sizeof(id), "%d", i);
		add_job(f, id, i % 2 == 0 ? "{\"team\": \"x\", \"all\": \"1\"}" : "{\"all\": \"1\"}");
	}
	for (int ascending = 0; ascending < 2; ascending++) {
		struct page page = {.limit = 2, .is_ascending = ascending};
		struct rows rows = {.has_more = true};

		for (int seen = 0; rows.has_more; seen++) {
			assert_int_equal(store_job_list(&rows, f->store, &page, filter, &f->err), 0);
			snprintf(page.after, sizeof(page.after), "%s", rows.last_id);
			assert_true(seen < 3);
		}
		assert_int_equal(rows.n, 5);
		assert_string_equal(rows.last_id, ascending ? "8" : "0");
		rows_done(&rows);
	}
	json_decref(filter);
}

static void run_sql(struct fixture *f, const char *sql)
{
	assert_int_equal(sqlite3_exec(f->store->db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* As migration 2 leaves the rows that are there already. */
static void test_a_row_of_an_older_version_reads_the_same(void **state)
{
	struct fixture *f = *state;
	struct buf before = {0}, after = {0};

	add_job(f, "a", "{\"team\": \"x\"}");
	assert_int_equal(store_job_text(&before, f->store, "a", &f->err), 0);
	run_sql(f, "UPDATE jobs SET view = NULL");
	assert_int_equal(store_job_text(&after, f->store, "a", &f->err), 0);
	assert_string_equal(before.data, after.data);
	run_sql(f, "UPDATE jobs SET spec = '{}'");
	buf_reset(&after);
	assert_int_equal(store_job_text(&after, f->store, "a", &f->err), -ERR_MISSING_FIELD);
	assert_non_null(strstr(f->err.where, "jobs.spec"));
	buf_done(&before);
	buf_done(&after);
}

static json_t *job_object(struct fixture *f, const char *id)
{
	struct buf text = {0};
	json_t *object;

	assert_int_equal(store_job_text(&text, f->store, id, &f->err), 0);
	object = json_loads(text.data, 0, NULL);
	assert_non_null(object);
	buf_done(&text);
	return object;
}

static void test_the_text_of_a_job_follows_its_row(void **state)
{
	struct fixture *f = *state;
	int64_t seq = add_job(f, "a", "{}");
	struct buf none = {0};
	json_t *object = job_object(f, "a"), *error;

	assert_string_equal(json_string_value(json_object_get(object, "status")), "queued");
	assert_true(json_is_null(json_object_get(object, "error")));
	assert_true(json_is_null(json_object_get(object, "trained_tokens")));
	json_decref(object);
	assert_int_equal(store_job_fail(f->store, seq, &failure, &f->err), 0);
	object = job_object(f, "a");
	error = json_object_get(object, "error");
	assert_string_equal(json_string_value(json_object_get(object, "status")), "failed");
	assert_string_equal(json_string_value(json_object_get(error, "code")), err_name(failure.code));
	assert_string_equal(json_string_value(json_object_get(error, "message")), "no rows");
	assert_string_equal(json_string_value(json_object_get(error, "param")), "training_file");
	assert_true(json_integer_value(json_object_get(object, "finished_at")) > 0);
	json_decref(object);
	assert_int_equal(store_job_text(&none, f->store, "b", &f->err), -ERR_NOT_FOUND);
	assert_int_equal(none.len, 0);
}

static void test_a_job_is_found_and_is_over_or_not(void **state)
{
	struct fixture *f = *state;
	int64_t seq = add_job(f, "a", "{}"), found = 0;
	bool is_over = true;

	assert_int_equal(store_job_find(&found, f->store, "a", &f->err), 0);
	assert_int_equal(found, seq);
	assert_int_equal(store_job_find(&found, f->store, "b", &f->err), -ERR_NOT_FOUND);
	assert_int_equal(store_job_is_over(&is_over, f->store, seq, &f->err), 0);
	assert_false(is_over);
	assert_int_equal(store_job_cancel(f->store, "a", &f->err), 0);
	assert_int_equal(store_job_is_over(&is_over, f->store, seq, &f->err), 0);
	assert_true(is_over);
	assert_int_equal(store_job_is_over(&is_over, f->store, seq + 1, &f->err), 0);
	assert_true(is_over);
}

static void test_a_checkpoint_is_kept_once_per_step(void **state)
{
	struct fixture *f = *state;
	struct page page = {.limit = 10};
	struct job_row job;
	struct checkpoint checkpoint = {.step = 5, .train_loss = .5, .valid_loss = NAN, .valid_accuracy = 1};
	json_t *data = json_array(), *metrics;
	bool has_more;

	add_job(f, "a", "{}");
	job = get_job(f, "a");
	for (int i = 0; i < 2; i++)
		assert_int_equal(store_checkpoint_add(f->store, &job, &checkpoint, &f->err), 0);
	assert_int_equal(store_checkpoint_list(data, &has_more, f->store, &job, &page, &f->err), 0);
	assert_int_equal(json_array_size(data), 1);
	metrics = json_object_get(json_array_get(data, 0), "metrics");
	assert_null(json_object_get(metrics, "valid_loss"));
	assert_true(json_real_value(json_object_get(metrics, "train_loss")) == .5);
	json_decref(data);
}

static void test_unsettled_jobs_are_those_that_may_have_a_worker(void **state)
{
	struct fixture *f = *state;
	json_t *ids = json_array();

	add_job(f, "running", "{}");
	claim(f, "running");
	add_job(f, "cancelled", "{}");
	claim(f, "cancelled");
	assert_int_equal(store_job_cancel(f->store, "cancelled", &f->err), 0);
	add_job(f, "queued", "{}");
	assert_int_equal(store_job_unsettled(ids, f->store, &f->err), 0);
	assert_int_equal(json_array_size(ids), 2);
	json_decref(ids);
}

static void test_event_numbers_come_from_ids_of_events_only(void **state)
{
	assert_int_equal(event_number("ftevent-17"), 17);
	assert_int_equal(event_number("ftevent-"), 0);
	assert_int_equal(event_number("ftevent--1"), 0);
	assert_int_equal(event_number("ftevent-1x"), 0);
	assert_int_equal(event_number("17"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_claim_takes_the_oldest_and_skips_running_jobs),
		TEST(test_claim_skips_paused_jobs_and_those_whose_worker_is_still_there),
		TEST(test_a_requeued_job_comes_first_again_with_its_crashes),
		TEST(test_each_change_starts_from_its_states_only),
		TEST(test_a_failure_keeps_code_message_and_parameter),
		TEST(test_a_list_is_filtered_by_every_pair),
		TEST(test_filtered_pages_cover_the_list),
		TEST(test_a_row_of_an_older_version_reads_the_same),
		TEST(test_the_text_of_a_job_follows_its_row),
		TEST(test_a_job_is_found_and_is_over_or_not),
		TEST(test_a_checkpoint_is_kept_once_per_step),
		TEST(test_unsettled_jobs_are_those_that_may_have_a_worker),
		TEST(test_event_numbers_come_from_ids_of_events_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
