/* store_job: rows of jobs, their events, checkpoints and artifacts. */
#include "server/store_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/id.h"
#include "server/store_internal.h"

/* ---- the job ---- */

void job_row_done(struct job_row *row)
{
	spec_done(&row->spec);
}

static enum job_status status_from_name(const char *name)
{
	for (int i = 0; i < JOB_STATUS_COUNT; i++)
		if (strcmp(job_status_name((enum job_status)i), name) == 0)
			return (enum job_status)i;
	return JOB_FAILED; /* cannot be: the table has a CHECK */
}

int store_job_spec(struct spec *out, sqlite3_stmt *row, int column, struct err *err)
{
	json_t *json = store_json(row, column);
	int rc;

	if (json == NULL)
		return err_set(err, ERR_INTERNAL, "jobs.spec", "the database holds no valid JSON");
	rc = spec_parse(out, json, SPEC_WORKER, err);
	json_decref(json);
	return rc != 0 ? err_within(err, "jobs.spec") : 0;
}

/* Columns in the order of SQL_JOB_COLUMNS. */
static int read_row(struct job_row *out, sqlite3_stmt *row, struct err *err)
{
	char name[64];

	memset(out, 0, sizeof(*out));
	out->seq = sqlite3_column_int64(row, 0);
	store_text(out->id, sizeof(out->id), row, 1);
	store_text(name, sizeof(name), row, 2);
	out->status = status_from_name(name);
	out->created_at = sqlite3_column_int64(row, 3);
	out->started_at = sqlite3_column_int64(row, 4);
	out->finished_at = sqlite3_column_int64(row, 5);
	out->is_stopping = sqlite3_column_int(row, 6) != 0;
	out->crashes = sqlite3_column_int(row, 7);
	out->crash_place = sqlite3_column_int64(row, 8);
	out->trained_tokens = sqlite3_column_type(row, 9) == SQLITE_NULL ? -1 : sqlite3_column_int64(row, 9);
	out->estimated_finish = sqlite3_column_int64(row, 10);
	store_text(out->fine_tuned_model, sizeof(out->fine_tuned_model), row, 11);
	store_text(name, sizeof(name), row, 12);
	out->error.code = err_from_name(name);
	store_text(out->error.text, sizeof(out->error.text), row, 13);
	store_text(out->error.where, sizeof(out->error.where), row, 14);
	return store_job_spec(&out->spec, row, 15, err);
}

static int add_inputs(struct store *store, const struct job_row *job, struct err *err)
{
	const struct spec *spec = &job->spec;
	const struct {
		const char *role;
		const struct spec_ref *ref;
	} inputs[] = {
		{"model", &spec->model},
		{"training_file", &spec->training_file},
		{"validation_file", &spec->validation_file},
		{"test_file", &spec->test_file},
	};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < NELEM(inputs); i++)
		if (inputs[i].ref->id[0] != '\0')
			rc = store_run(store, SQL_JOB_INPUT_ADD, NULL, err, "iss", job->seq, inputs[i].role,
				inputs[i].ref->id);
	return rc;
}

/* By spec.type. */
struct job_kind {
	const char *type, *created;
};

static const struct job_kind *kind_of(const struct job_row *job)
{
	static const struct job_kind kinds[SPEC_TYPES] = {
		[SPEC_FINE_TUNING] = {"fine_tuning", "Created fine-tuning job"},
		[SPEC_SCAN] = {"scan", "Created scan"},
	};

	return &kinds[job->spec.type];
}

static int add_row(struct store *store, struct job_row *job, struct err *err)
{
	struct buf text = {0}, view = {0};
	sqlite3_stmt *row = NULL;
	int rc = spec_write(&text, &job->spec, SPEC_WORKER, err);

	if (rc == 0)
		rc = job_view(&view, &job->spec, err);
	if (rc == 0)
		rc = store_one(&row, store, SQL_JOB_ADD, err, "ssisjs", job->id, kind_of(job)->type,
			job->created_at, text.data, job->spec.metadata, view.data);
	buf_done(&text);
	buf_done(&view);
	if (rc != STORE_ROW)
		return rc != 0 ? rc : err_set(err, ERR_INTERNAL, "jobs", "no row was added");
	job->seq = sqlite3_column_int64(row, 0);
	sqlite3_reset(row);
	return 0;
}

static int add_metadata(struct store *store, const struct job_row *job, struct err *err)
{
	const char *key;
	json_t *value;
	int rc = 0;

	json_object_foreach(job->spec.metadata, key, value)
	{
		if (rc == 0)
			rc = store_run(store, SQL_JOB_METADATA_ADD, NULL, err, "ssi", key,
				json_string_value(value), job->seq);
	}
	return rc;
}

int store_job_add(struct store *store, struct job_row *job, struct err *err)
{
	struct event created = {.level = "info", .type = "message"};
	int rc = store_begin(store, err);

	if (rc != 0)
		return rc;
	job->status = JOB_QUEUED;
	job->created_at = time(NULL);
	job->trained_tokens = -1;
	rc = add_row(store, job, err);
	if (rc == 0)
		rc = add_inputs(store, job, err);
	if (rc == 0)
		rc = add_metadata(store, job, err);
	snprintf(created.message, sizeof(created.message), "%s", kind_of(job)->created);
	created.job_seq = job->seq;
	created.created_at = job->created_at;
	if (rc == 0)
		rc = store_event_add(store, &created, err);
	if (rc != 0) {
		store_rollback(store);
		return rc;
	}
	return store_commit(store, err);
}

int store_job_missing(const char *id, struct err *err)
{
	return err_set(err, ERR_NOT_FOUND, NULL, "no such job: '%s'", id);
}

int store_job_get(struct job_row *out, struct store *store, const char *id, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_JOB_GET, err, "s", id);

	if (rc == 0)
		return store_job_missing(id, err);
	if (rc != STORE_ROW)
		return rc;
	rc = read_row(out, row, err);
	sqlite3_reset(row);
	return rc;
}

int store_job_find(int64_t *seq, struct store *store, const char *id, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_JOB_FIND, err, "s", id);

	if (rc == 0)
		return store_job_missing(id, err);
	if (rc != STORE_ROW)
		return rc;
	*seq = sqlite3_column_int64(row, 0);
	sqlite3_reset(row);
	return 0;
}

int store_job_is_over(bool *out, struct store *store, int64_t seq, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_JOB_IS_OVER, err, "i", seq);

	*out = true;
	if (rc != STORE_ROW)
		return rc;
	*out = sqlite3_column_int(row, 0) != 0;
	sqlite3_reset(row);
	return 0;
}

int store_job_count_queued(int64_t *out, struct store *store, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_JOB_COUNT_QUEUED, err, "");

	if (rc != STORE_ROW)
		return rc;
	*out = sqlite3_column_int64(row, 0);
	sqlite3_reset(row);
	return 0;
}

int store_job_claim(struct job_row *out, struct store *store, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_begin(store, err);

	if (rc != 0)
		return rc;
	rc = store_one(&row, store, SQL_JOB_CLAIM, err, "i", (int64_t)time(NULL));
	if (rc == STORE_ROW) {
		rc = read_row(out, row, err);
		sqlite3_reset(row);
	} else if (rc == 0) {
		rc = err_set(err, ERR_NOT_FOUND, NULL, "no job is queued");
	}
	if (rc != 0) {
		store_rollback(store);
		return rc;
	}
	return store_commit(store, err);
}

int store_job_unsettled(json_t *ids, struct store *store, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_query(&row, store, SQL_JOB_UNSETTLED, err, "");

	if (rc != 0)
		return rc;
	while ((rc = store_next(row, err)) == STORE_ROW)
		json_array_append_new(ids, json_string((const char *)sqlite3_column_text(row, 0)));
	sqlite3_reset(row);
	return rc;
}

/* ---- changes of state ---- */

static int expect_change(int rc, int changes, struct err *err)
{
	if (rc == 0 && changes == 0)
		return err_set(err, ERR_BAD_STATE, NULL, "the job's state does not allow that");
	return rc;
}

int store_job_set_running(struct store *store, int64_t seq, struct err *err)
{
	int changes = 0, rc = store_run(store, SQL_JOB_RUNNING, &changes, err, "i", seq);

	return expect_change(rc, changes, err);
}

int store_job_requeue(struct store *store, int64_t seq, int crashes, int64_t crash_place, struct err *err)
{
	return store_run(store, SQL_JOB_REQUEUE, NULL, err, "iii", seq, (int64_t)crashes, crash_place);
}

int store_job_stopped(struct store *store, int64_t seq, struct err *err)
{
	return store_run(store, SQL_JOB_STOPPED, NULL, err, "i", seq);
}

/* The end of an unsynced transaction whose statement gave rc. */
static int end_unsynced(struct store *store, int rc, struct err *err)
{
	if (rc == 0)
		return store_commit(store, err);
	store_rollback(store);
	return rc;
}

int store_job_estimate(struct store *store, int64_t seq, int64_t finish, struct err *err)
{
	int rc = store_begin_unsynced(store, err);

	if (rc != 0)
		return rc;
	return end_unsynced(store, store_run(store, SQL_JOB_ESTIMATE, NULL, err, "ii", seq, finish), err);
}

int store_job_pause(struct store *store, const char *id, struct err *err)
{
	int changes = 0, rc = store_run(store, SQL_JOB_PAUSE, &changes, err, "s", id);

	return expect_change(rc, changes, err);
}

int store_job_resume(struct store *store, const char *id, struct err *err)
{
	int changes = 0, rc = store_run(store, SQL_JOB_RESUME, &changes, err, "s", id);

	return expect_change(rc, changes, err);
}

int store_job_cancel(struct store *store, const char *id, struct err *err)
{
	int changes = 0, rc = store_run(store, SQL_JOB_CANCEL, &changes, err, "si", id, (int64_t)time(NULL));

	return expect_change(rc, changes, err);
}

int store_job_fail(struct store *store, int64_t seq, const struct err *error, struct err *err)
{
	int changes = 0, rc = store_run(store, SQL_JOB_FAIL, &changes, err, "iisse", seq, (int64_t)time(NULL),
				 err_name(error->code), error->text, error->where);

	return expect_change(rc, changes, err);
}

int store_job_succeed(struct store *store, int64_t seq, const char *fine_tuned_model, int64_t trained_tokens,
	const json_t *report, struct err *err)
{
	int changes = 0, rc = store_run(store, SQL_JOB_SUCCEED, &changes, err, "iisij", seq,
				 (int64_t)time(NULL), fine_tuned_model, trained_tokens, report);

	return expect_change(rc, changes, err);
}

int store_job_report(json_t **out, struct store *store, const char *id, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_JOB_REPORT, err, "s", id);

	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND, NULL, "job '%s' has no report yet", id);
	if (rc != STORE_ROW)
		return rc;
	*out = store_json(row, 0);
	sqlite3_reset(row);
	return *out != NULL ? 0
			    : err_set(err, ERR_INTERNAL, "jobs.report", "the database holds no valid JSON");
}

/* ---- events ---- */

static const char event_prefix[] = "ftevent-";

int store_event_add(struct store *store, const struct event *event, struct err *err)
{
	return store_run(store, SQL_EVENT_ADD, NULL, err, "iisssj", event->job_seq, event->created_at,
		event->level, event->type, event->message, event->data);
}

int64_t event_number(const char *id)
{
	const char *digits = id + sizeof(event_prefix) - 1;
	char *end;
	long long number;

	if (strncmp(id, event_prefix, sizeof(event_prefix) - 1) != 0 || *digits < '0' || *digits > '9')
		return 0;
	number = strtoll(digits, &end, 10);
	return *end == '\0' ? number : 0;
}

/* The number and NUL in out. */
static void event_id(char out[STORE_ID_BYTES], int64_t number)
{
	snprintf(out, STORE_ID_BYTES, "%s%lld", event_prefix, (long long)number);
}

static void write_event(struct buf *out, const char *id, sqlite3_stmt *row)
{
	buf_str(out, "{\"id\":\"");
	buf_str(out, id);
	buf_str(out, "\",\"object\":\"fine_tuning.job.event\",\"created_at\":");
	store_write_integer(out, sqlite3_column_int64(row, 1));
	buf_str(out, ",\"level\":");
	store_write_text(out, row, 2);
	buf_str(out, ",\"message\":");
	store_write_text(out, row, 4);
	buf_str(out, ",\"type\":");
	store_write_text(out, row, 3);
	buf_str(out, ",\"data\":");
	store_write_json(out, row, 5, "{}");
	buf_str(out, "}");
}

/* Append at most `limit` objects that `object` makes of the rows. */
static int append_rows(json_t *data, bool *has_more, sqlite3_stmt *row, int limit,
	json_t *(*object)(sqlite3_stmt *row), struct err *err)
{
	int rc;

	*has_more = false;
	while ((rc = store_next(row, err)) == STORE_ROW) {
		rc = 0;
		*has_more = json_array_size(data) == (size_t)limit;
		if (*has_more)
			break;
		if (json_array_append_new(data, object(row)) != 0) {
			rc = err_nomem(err);
			break;
		}
	}
	sqlite3_reset(row);
	return rc;
}

static int event_start(
	int64_t *start, struct store *store, int64_t job_seq, const struct page *page, struct err *err)
{
	sqlite3_stmt *row;
	int rc;

	*start = page->is_ascending ? 0 : INT64_MAX;
	if (page->after[0] == '\0')
		return 0;
	rc = store_one(&row, store, SQL_EVENT_GET, err, "ii", event_number(page->after), job_seq);
	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND, "after", "no such event: '%s'", page->after);
	if (rc != STORE_ROW)
		return rc;
	*start = sqlite3_column_int64(row, 0);
	sqlite3_reset(row);
	return 0;
}

static int append_events(struct rows *rows, sqlite3_stmt *row, int limit, struct err *err)
{
	char id[STORE_ID_BYTES];
	int rc;

	while ((rc = store_next(row, err)) == STORE_ROW) {
		rows->has_more = limit-- == 0;
		if (rows->has_more)
			return 0;
		event_id(id, sqlite3_column_int64(row, 0));
		write_event(rows_next(rows, id), id, row);
	}
	return rc;
}

int store_event_list(
	struct rows *rows, struct store *store, int64_t job_seq, const struct page *page, struct err *err)
{
	sqlite3_stmt *row;
	int64_t start = 0;
	int rc = event_start(&start, store, job_seq, page, err);

	rows->has_more = false;
	if (rc == 0)
		rc = store_query(&row, store, page->is_ascending ? SQL_EVENT_OLDEST : SQL_EVENT_NEWEST, err,
			"iii", start, (int64_t)page->limit + 1, job_seq);
	if (rc != 0)
		return rc;
	rc = append_events(rows, row, page->limit, err);
	sqlite3_reset(row);
	return rc == 0 && rows->text.failed ? err_nomem(err) : rc;
}

int store_event_follow(
	struct buf *out, int64_t *last, struct store *store, int64_t job_seq, int limit, struct err *err)
{
	char id[STORE_ID_BYTES];
	sqlite3_stmt *row;
	int rc = store_query(&row, store, SQL_EVENT_OLDEST, err, "iii", *last, (int64_t)limit, job_seq);

	if (rc != 0)
		return rc;
	while ((rc = store_next(row, err)) == STORE_ROW) {
		*last = sqlite3_column_int64(row, 0);
		event_id(id, *last);
		buf_str(out, "id: ");
		store_write_integer(out, *last);
		buf_str(out, "\nevent: ");
		buf_str(out, (const char *)sqlite3_column_text(row, 3));
		buf_str(out, "\ndata: ");
		write_event(out, id, row);
		buf_str(out, "\n\n");
	}
	sqlite3_reset(row);
	return rc == 0 && out->failed ? err_nomem(err) : rc;
}

/* ---- checkpoints ---- */

static json_t *metrics_json(const struct checkpoint *checkpoint)
{
	const struct {
		const char *name;
		double value;
	} metrics[] = {
		{"train_loss", checkpoint->train_loss},
		{"valid_loss", checkpoint->valid_loss},
		{"valid_accuracy", checkpoint->valid_accuracy},
	};
	json_t *object = json_pack("{s:I}", "step", (json_int_t)checkpoint->step);

	for (size_t i = 0; i < NELEM(metrics); i++)
		if (isfinite(metrics[i].value))
			json_object_set_new(object, metrics[i].name, json_real(metrics[i].value));
	return object;
}

static int add_checkpoint(
	struct store *store, const struct job_row *job, const struct checkpoint *checkpoint, struct err *err)
{
	char id[STORE_ID_BYTES], name[STORE_NAME_BYTES], model[STORE_NAME_BYTES];
	json_t *metrics = metrics_json(checkpoint);
	int rc;

	id_new(id, sizeof(id), "ftckpt-");
	job_model_name(model, job);
	if (snprintf(name, sizeof(name), "%s:ckpt-step-%lld", model, (long long)checkpoint->step) >=
		(int)sizeof(name))
		name[sizeof(name) - 1] = '\0';
	rc = store_run(store, SQL_CHECKPOINT_ADD, NULL, err, "siisij", id, job->seq, (int64_t)time(NULL),
		name, checkpoint->step, metrics);
	json_decref(metrics);
	return rc;
}

int store_checkpoint_add(
	struct store *store, const struct job_row *job, const struct checkpoint *checkpoint, struct err *err)
{
	int rc = store_begin_unsynced(store, err);

	if (rc != 0)
		return rc;
	return end_unsynced(store, add_checkpoint(store, job, checkpoint, err), err);
}

static json_t *checkpoint_object(sqlite3_stmt *row)
{
	json_t *metrics = store_json(row, 4);

	return json_pack("{s:s, s:s, s:I, s:s, s:I, s:o}", "id", sqlite3_column_text(row, 0), "object",
		"fine_tuning.job.checkpoint", "created_at", (json_int_t)sqlite3_column_int64(row, 1),
		"fine_tuned_model_checkpoint", sqlite3_column_text(row, 2), "step_number",
		(json_int_t)sqlite3_column_int64(row, 3), "metrics",
		metrics != NULL ? metrics : json_object());
}

int store_checkpoint_list(json_t *data, bool *has_more, struct store *store, const struct job_row *job,
	const struct page *page, struct err *err)
{
	enum { SEQ_COLUMN = 0 };
	sqlite3_stmt *row;
	int64_t start = 0;
	json_t *item;
	size_t i;
	int rc = store_page_start(&start, store, SQL_CHECKPOINT_GET, SEQ_COLUMN, page, err);

	if (rc == 0)
		rc = store_query(&row, store,
			page->is_ascending ? SQL_CHECKPOINT_OLDEST : SQL_CHECKPOINT_NEWEST, err, "iii", start,
			(int64_t)page->limit + 1, job->seq);
	if (rc == 0)
		rc = append_rows(data, has_more, row, page->limit, checkpoint_object, err);
	if (rc != 0)
		return rc;
	json_array_foreach(data, i, item)
		json_object_set_new(item, "fine_tuning_job_id", json_string(job->id));
	return 0;
}

/* ---- artifacts ---- */

int store_artifact_add(struct store *store, int64_t job_seq, const struct artifact *artifact, struct err *err)
{
	return store_run(store, SQL_ARTIFACT_ADD, NULL, err, "isis", job_seq, artifact->path, artifact->bytes,
		artifact->sha256);
}

int store_artifact_get(
	struct artifact *out, struct store *store, int64_t job_seq, const char *path, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_ARTIFACT_GET, err, "is", job_seq, path);

	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND, path, "the job made no such file");
	if (rc != STORE_ROW)
		return rc;
	store_text(out->path, sizeof(out->path), row, 0);
	out->bytes = sqlite3_column_int64(row, 1);
	store_text(out->sha256, sizeof(out->sha256), row, 2);
	sqlite3_reset(row);
	return 0;
}
