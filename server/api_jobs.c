#include "server/api_jobs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/gate.h"
#include "common/io.h"
#include "server/api_files.h"
#include "server/event_stream.h"
#include "server/events.h"
#include "server/id.h"
#include "server/jobdir.h"
#include "server/list.h"
#include "server/pool.h"
#include "server/report.h"

enum {
	LIST_MAX = 100,
	LIST_DEFAULT = 20,
	CHECKPOINTS_DEFAULT = 10,
	LOG_TAIL_BYTES = 64 << 10,
	METADATA_FILTER_MAX = 16,
};

/* Scans are jobs whose ids say so; neither is seen under the other's routes. */
static int check_id(const struct request *req, struct err *err)
{
	const char *id = request_param(req);
	bool is_scan_route = strncmp(request_route(req)->pattern, "/v1/scans", 9) == 0;

	if ((strncmp(id, SCAN_ID_PREFIX, strlen(SCAN_ID_PREFIX)) == 0) == is_scan_route)
		return 0;
	return store_job_missing(id, err);
}

int job_of_request(struct job_row *out, struct request *req, struct err *err)
{
	int rc = check_id(req, err);

	return rc == 0 ? store_job_get(out, request_server(req)->store, request_param(req), err) : rc;
}

int job_respond(struct request *req, const char *id, struct err *err)
{
	struct buf text = {0};
	int rc = store_job_text(&text, request_server(req)->store, id, err);

	if (rc == 0)
		respond_text(req, 200, "application/json", &text);
	buf_done(&text);
	return rc;
}

/* ---- create ---- */

int job_resolve_model(struct spec_ref *ref, struct store *store, struct err *err)
{
	struct model_row row;
	int rc = store_model_get(&row, store, ref->id, err);

	if (rc == -ERR_NOT_FOUND)
		return err_set(err, ERR_INVALID_VALUE, "model", "The model '%s' does not exist", ref->id);
	if (rc != 0)
		return rc;
	if (row.job_id[0] != '\0')
		return err_set(err, ERR_UNSUPPORTED, "model", "'%s' is a fine-tuned model, not a base model",
			ref->id);
	memcpy(ref->sha256, row.sha256, sizeof(ref->sha256));
	snprintf(ref->name, sizeof(ref->name), "%s", ref->id);
	return 0;
}

static int resolve_file(struct spec_ref *ref, struct store *store, const char *param, struct err *err)
{
	struct file_row row;
	int rc = ref->id[0] == '\0' ? 0 : store_file_get(&row, store, ref->id, err);

	if (ref->id[0] == '\0')
		return 0;
	if (rc == -ERR_NOT_FOUND)
		return err_set(err, ERR_INVALID_VALUE, param, "The file '%s' does not exist", ref->id);
	if (rc != 0)
		return rc;
	if (strcmp(row.purpose, "fine-tune") != 0 || !file_is_data(row.filename))
		return err_set(err, ERR_INVALID_VALUE, param,
			"The file '%s' is no data set (purpose fine-tune)", ref->id);
	memcpy(ref->sha256, row.sha256, sizeof(ref->sha256));
	snprintf(ref->name, sizeof(ref->name), "%.255s", row.filename);
	return 0;
}

static int check_repairable(
	const struct spec *spec, const struct job_row *old, const struct server *server, struct err *err)
{
	static const char param[] = "peft.init_from";

	if (old->status != JOB_SUCCEEDED)
		return err_set(err, ERR_INVALID_VALUE, param,
			"Job '%s' is %s; only a job that succeeded can be repaired", old->id,
			job_status_name(old->status));
	if (strcmp(old->spec.model.sha256, spec->model.sha256) != 0)
		return err_set(
			err, ERR_INVALID_VALUE, param, "Job '%s' trained on another base model", old->id);
	if (old->spec.peft.type != spec->peft.type)
		return err_set(
			err, ERR_INVALID_VALUE, param, "Job '%s' trained by another PEFT method", old->id);
	if (!jobdir_has_adapter(server, old->id))
		return err_set(err, ERR_INVALID_VALUE, param, "The adapter of job '%s' is not kept", old->id);
	return 0;
}

/* The job to repair; its digest is that of the adapter. After job_resolve_model. */
static int resolve_repair(struct spec *spec, const struct server *server, struct err *err)
{
	struct spec_ref *ref = &spec->peft.init_from;
	struct job_row old = {0};
	struct artifact zip;
	int rc = ref->id[0] != '\0' ? store_job_get(&old, server->store, ref->id, err) : 0;

	if (ref->id[0] == '\0')
		return 0;
	if (rc == -ERR_NOT_FOUND)
		return err_set(
			err, ERR_INVALID_VALUE, "peft.init_from", "The job '%s' does not exist", ref->id);
	if (rc == 0)
		rc = check_repairable(spec, &old, server, err);
	if (rc == 0)
		rc = store_artifact_get(&zip, server->store, old.seq, "adapter.zip", err);
	if (rc == 0)
		memcpy(ref->sha256, zip.sha256, sizeof(ref->sha256));
	job_row_done(&old);
	return rc;
}

static int resolve(struct spec *spec, const struct server *server, struct err *err)
{
	struct store *store = server->store;
	int rc = job_resolve_model(&spec->model, store, err);

	if (rc == 0)
		rc = resolve_file(&spec->training_file, store, "training_file", err);
	if (rc == 0)
		rc = resolve_file(&spec->validation_file, store, "validation_file", err);
	if (rc == 0)
		rc = resolve_file(&spec->test_file, store, "test_file", err);
	if (rc == 0)
		rc = resolve_repair(spec, server, err);
	return rc;
}

static int check_queue(const struct server *server, struct err *err)
{
	int64_t queued;
	int rc = store_job_count_queued(&queued, server->store, err);

	if (rc == 0 && queued >= server->config->max_queue)
		rc = err_set(err, ERR_BUSY, NULL, "%lld jobs are waiting already", (long long)queued);
	return rc;
}

int job_submit(struct request *req, struct job_row *job, const char *prefix, struct err *err)
{
	struct server *server = request_server(req);
	int rc = check_queue(server, err);

	if (rc == 0) {
		id_new(job->id, sizeof(job->id), prefix);
		rc = store_job_add(server->store, job, err);
	}
	if (rc == 0)
		rc = job_respond(req, job->id, err);
	if (rc == 0)
		pool_wake(server->pool);
	return rc;
}

static int parse_spec(struct spec *out, struct request *req, struct err *err)
{
	json_t *body = request_json(req);

	*out = (struct spec){0};
	if (body == NULL)
		return err_set(err, ERR_MISSING_FIELD, "model", "is required");
	return spec_parse(out, body, SPEC_API, err);
}

int jobs_create(struct request *req, struct err *err)
{
	struct job_row job = {0};
	int rc = parse_spec(&job.spec, req, err);

	if (rc == 0)
		rc = resolve(&job.spec, request_server(req), err);
	if (rc == 0)
		rc = job_submit(req, &job, "ftjob-", err);
	job_row_done(&job);
	return rc;
}

/* ---- read ---- */

static int add_filter(void *arg, const char *name, const char *value, struct err *err)
{
	json_t *filter = arg;
	size_t len = strlen(name);
	char key[256];

	if (strncmp(name, "metadata[", 9) != 0)
		return 0;
	if (len < 11 || name[len - 1] != ']' || len - 10 >= sizeof(key))
		return err_set(err, ERR_INVALID_VALUE, "metadata", "expected metadata[key]=value");
	snprintf(key, sizeof(key), "%.*s", (int)(len - 10), name + 9);
	if (json_object_size(filter) == METADATA_FILTER_MAX)
		return err_set(err, ERR_INVALID_VALUE, "metadata", "at most %d pairs", METADATA_FILTER_MAX);
	if (json_object_set_new(filter, key, json_string(value)) != 0)
		return err_set(err, ERR_INVALID_VALUE, "metadata", "must be UTF-8");
	return 0;
}

static int list_page(struct rows *rows, struct request *req, json_t *filter, struct err *err)
{
	struct page page;
	int rc = page_parse(&page, req, LIST_MAX, LIST_DEFAULT, err);

	if (rc == 0)
		rc = request_query_each(req, add_filter, filter, err);
	if (rc == 0)
		rc = store_job_list(rows, request_server(req)->store, &page, filter, err);
	return rc;
}

int jobs_list(struct request *req, struct err *err)
{
	struct rows rows = {0};
	json_t *filter = json_object();
	int rc = list_page(&rows, req, filter, err);

	json_decref(filter);
	if (rc == 0)
		respond_rows(req, &rows);
	rows_done(&rows);
	return rc;
}

int jobs_get(struct request *req, struct err *err)
{
	int rc = check_id(req, err);

	return rc == 0 ? job_respond(req, request_param(req), err) : rc;
}

/* ---- change ---- */

struct verb {
	const char *participle;
	int (*change)(struct store *store, const char *id, struct err *err);
	const char *message; /* the event's */
};

static int explain_refusal(const struct job_row *job, const struct verb *verb, struct err *err)
{
	if (job_is_finished(job->status))
		return err_set(err, ERR_BAD_STATE, NULL,
			"Job '%s' has already finished (%s) and cannot be %s", job->id,
			job_status_name(job->status), verb->participle);
	return err_set(err, ERR_BAD_STATE, NULL, "Job '%s' is %s and cannot be %s", job->id,
		job_status_name(job->status), verb->participle);
}

static int add_change_event(
	struct store *store, const struct job_row *job, const struct verb *verb, struct err *err)
{
	struct event event = {
		.job_seq = job->seq, .created_at = time(NULL), .level = "info", .type = "message"};

	snprintf(event.message, sizeof(event.message), "%s", verb->message);
	return store_event_add(store, &event, err);
}

static int change_within(
	struct store *store, const struct job_row *job, const struct verb *verb, struct err *err)
{
	int rc = verb->change(store, job->id, err);

	if (rc == -ERR_BAD_STATE)
		return explain_refusal(job, verb, err);
	return rc != 0 ? rc : add_change_event(store, job, verb, err);
}

/* Change the state and say so, in one transaction. */
static int change(struct server *server, const struct job_row *job, const struct verb *verb, struct err *err)
{
	int rc = events_flush(pool_events(server->pool), err);

	if (rc == 0)
		rc = store_begin(server->store, err);
	if (rc != 0)
		return rc;
	rc = change_within(server->store, job, verb, err);
	if (rc != 0) {
		store_rollback(server->store);
		return rc;
	}
	rc = store_commit(server->store, err);
	if (rc == 0)
		events_wake(pool_events(server->pool), job->seq);
	return rc;
}

static int change_and_respond(struct request *req, const struct verb *verb, struct err *err)
{
	struct server *server = request_server(req);
	struct job_row job = {0};
	int rc = job_of_request(&job, req, err);

	if (rc == 0)
		rc = change(server, &job, verb, err);
	if (rc == 0)
		rc = job_respond(req, job.id, err);
	job_row_done(&job);
	return rc;
}

int jobs_cancel(struct request *req, struct err *err)
{
	static const struct verb cancel = {"cancelled", store_job_cancel, "The job was cancelled"};
	int rc = change_and_respond(req, &cancel, err);

	if (rc == 0)
		pool_stop_job(request_server(req)->pool, request_param(req), true);
	return rc;
}

int jobs_pause(struct request *req, struct err *err)
{
	static const struct verb pause = {"paused", store_job_pause, "The job was paused"};
	int rc = change_and_respond(req, &pause, err);

	if (rc == 0)
		pool_stop_job(request_server(req)->pool, request_param(req), false);
	return rc;
}

int jobs_resume(struct request *req, struct err *err)
{
	static const struct verb resume = {"resumed", store_job_resume, "The job was resumed"};
	int rc = change_and_respond(req, &resume, err);

	if (rc == 0)
		pool_wake(request_server(req)->pool);
	return rc;
}

/* ---- events and checkpoints ---- */

static int list_events(struct request *req, int64_t job_seq, struct err *err)
{
	struct rows rows = {0};
	struct page page;
	int rc = page_parse(&page, req, LIST_MAX, LIST_DEFAULT, err);

	if (rc == 0)
		rc = store_event_list(&rows, request_server(req)->store, job_seq, &page, err);
	if (rc == 0)
		respond_rows(req, &rows);
	rows_done(&rows);
	return rc;
}

int jobs_events(struct request *req, struct err *err)
{
	const char *accept = request_header(req, "Accept");
	int64_t seq;
	int rc = check_id(req, err);

	if (rc == 0)
		rc = store_job_find(&seq, request_server(req)->store, request_param(req), err);
	if (rc == 0 && accept != NULL && strstr(accept, "text/event-stream") != NULL)
		rc = event_stream_respond(req, seq, err);
	else if (rc == 0)
		rc = list_events(req, seq, err);
	return rc;
}

static int list_checkpoints(struct request *req, const struct job_row *job, struct err *err)
{
	json_t *data = json_array();
	struct page page;
	bool has_more = false;
	int rc = page_parse(&page, req, LIST_MAX, CHECKPOINTS_DEFAULT, err);

	if (rc == 0)
		rc = store_checkpoint_list(data, &has_more, request_server(req)->store, job, &page, err);
	if (rc == 0)
		respond_list(req, data, has_more);
	else
		json_decref(data);
	return rc;
}

int jobs_checkpoints(struct request *req, struct err *err)
{
	struct job_row job = {0};
	int rc = job_of_request(&job, req, err);

	if (rc == 0)
		rc = list_checkpoints(req, &job, err);
	job_row_done(&job);
	return rc;
}

/* ---- report and verdict ---- */

static json_t *epoch_json(const json_t *checkpoint, size_t epoch)
{
	json_t *metrics = json_object_get(checkpoint, "metrics"), *value;
	json_t *out = json_pack(
		"{s:I, s:n, s:n, s:n}", "epoch", (json_int_t)epoch, "loss", "valid_loss", "valid_accuracy");

	if ((value = json_object_get(metrics, "train_loss")) != NULL)
		json_object_set(out, "loss", value);
	if ((value = json_object_get(metrics, "valid_loss")) != NULL)
		json_object_set(out, "valid_loss", value);
	if ((value = json_object_get(metrics, "valid_accuracy")) != NULL)
		json_object_set(out, "valid_accuracy", value);
	return out;
}

/* The epochs that are over, as the report has them. */
static int known_epochs(json_t **out, struct store *store, const struct job_row *job, struct err *err)
{
	enum { EPOCHS_MAX = 1000 }; /* of n_epochs */
	struct page page = {.limit = EPOCHS_MAX, .is_ascending = true};
	json_t *list = json_array(), *epochs = json_array(), *checkpoint;
	bool has_more;
	size_t i;
	int rc = store_checkpoint_list(list, &has_more, store, job, &page, err);

	json_array_foreach(list, i, checkpoint) json_array_append_new(epochs, epoch_json(checkpoint, i + 1));
	json_decref(list);
	if (rc != 0) {
		json_decref(epochs);
		epochs = NULL;
	}
	*out = epochs;
	return rc;
}

static int partial_report(json_t **out, struct store *store, const struct job_row *job, struct err *err)
{
	json_t *epochs;
	int rc = known_epochs(&epochs, store, job, err);

	if (rc == 0)
		rc = report_compose(out, job, job->status, NULL, epochs, NULL, err);
	json_decref(epochs);
	return rc;
}

static int get_report(json_t **out, struct store *store, const struct job_row *job, struct err *err)
{
	if (job->status == JOB_SUCCEEDED)
		return store_job_report(out, store, job->id, err);
	return partial_report(out, store, job, err);
}

int jobs_report(struct request *req, struct err *err)
{
	struct job_row job = {0};
	json_t *report;
	int rc = job_of_request(&job, req, err);

	if (rc == 0)
		rc = get_report(&report, request_server(req)->store, &job, err);
	if (rc == 0)
		respond_json(req, 200, report);
	job_row_done(&job);
	return rc;
}

static int add_rule(json_t *asked, const char *rule, struct err *err)
{
	if (gate_has_rule(rule))
		return json_object_set_new(asked, "rule", json_string(rule)) == 0 ? 0 : err_nomem(err);
	return err_set(err, ERR_INVALID_VALUE, "rule", "must be one of \"point\", \"bound\"");
}

static int add_asked(void *arg, const char *name, const char *value, struct err *err)
{
	json_t *asked = arg;
	double number;
	char *end;

	if (strcmp(name, "rule") == 0)
		return add_rule(asked, value, err);
	if (gate_check_find(name) == NULL)
		return err_set(err, ERR_UNKNOWN_FIELD, name, "there is no such threshold");
	number = strtod(value, &end);
	if (end == value || *end != '\0' || !(number >= 0 && number <= 1))
		return err_set(err, ERR_INVALID_VALUE, name, "must be a number from 0 to 1");
	return json_object_set_new(asked, name, json_real(number)) == 0 ? 0 : err_nomem(err);
}

static int respond_verdict(struct request *req, const struct job_row *job, json_t *asked, struct err *err)
{
	json_t *report, *verdict;
	int rc = get_report(&report, request_server(req)->store, job, err);

	if (rc != 0)
		return rc;
	verdict = report_verdict(report, job, asked);
	json_decref(report);
	if (verdict == NULL)
		return err_nomem(err);
	respond_json(req, 200, verdict);
	return 0;
}

int jobs_gate(struct request *req, struct err *err)
{
	struct job_row job = {0};
	json_t *asked = json_object();
	int rc = job_of_request(&job, req, err);

	if (rc == 0)
		rc = request_query_each(req, add_asked, asked, err);
	if (rc == 0)
		rc = respond_verdict(req, &job, asked, err);
	json_decref(asked);
	job_row_done(&job);
	return rc;
}

/* ---- log ---- */

static int read_tail(struct buf *out, int dirfd, struct err *err)
{
	size_t bytes;
	int fd, rc = io_open_file(&fd, &bytes, dirfd, "log", err);

	if (rc == -ERR_NOT_FOUND) /* no worker yet */
		return 0;
	if (rc != 0)
		return rc;
	if (bytes > LOG_TAIL_BYTES)
		(void)lseek(fd, (off_t)(bytes - LOG_TAIL_BYTES), SEEK_SET);
	rc = io_read_all(out, fd, 2 * LOG_TAIL_BYTES, "log", err);
	close(fd);
	return rc;
}

/* From the first whole line on, where the beginning was cut off. */
static void respond_tail(struct request *req, const struct buf *text)
{
	const char *start = text->len > 0 ? text->data : "";
	size_t len = text->len;
	const char *newline = len >= LOG_TAIL_BYTES ? memchr(start, '\n', len) : NULL;

	if (newline != NULL) {
		len -= (size_t)(newline + 1 - start);
		start = newline + 1;
	}
	respond_bytes(req, 200, "text/plain; charset=utf-8", start, len);
}

int jobs_log(struct request *req, struct err *err)
{
	struct server *server = request_server(req);
	struct job_row job = {0};
	struct buf text = {0};
	int dirfd = -1, rc = job_of_request(&job, req, err);

	if (rc == 0 && jobdir_open(&dirfd, server, job.id, false, err) == 0)
		rc = read_tail(&text, dirfd, err);
	if (dirfd >= 0)
		close(dirfd);
	if (rc == 0)
		respond_tail(req, &text);
	buf_done(&text);
	job_row_done(&job);
	return rc;
}

/* ---- results ---- */

/* One of a finished job's archives. */
struct archive {
	const char *name; /* in the job's directory, and behind its id the client's */
	const char *noun;
};

static int open_archive(struct file_answer *out, const struct server *server, const struct job_row *job,
	const struct archive *archive, struct err *err)
{
	int dirfd, rc = jobdir_open(&dirfd, server, job->id, false, err);

	if (rc != 0)
		return rc;
	rc = io_open_file(&out->fd, &out->bytes, dirfd, archive->name, err);
	close(dirfd);
	return rc;
}

static int respond_archive(
	struct request *req, const struct job_row *job, const struct archive *archive, struct err *err)
{
	struct server *server = request_server(req);
	struct file_answer file = {.content_type = "application/zip"};
	struct artifact artifact;
	char name[STORE_ID_BYTES + 16];
	int rc;

	if (job->status != JOB_SUCCEEDED)
		return err_set(err, ERR_BAD_STATE, NULL, "Job '%s' is %s; only a job that succeeded has %s",
			job->id, job_status_name(job->status), archive->noun);
	rc = store_artifact_get(&artifact, server->store, job->seq, archive->name, err);
	if (rc == 0)
		rc = open_archive(&file, server, job, archive, err);
	if (rc != 0)
		return rc;
	snprintf(name, sizeof(name), "%s-%s", job->id, archive->name);
	file.sha256 = artifact.sha256;
	file.filename = name;
	respond_file(req, &file);
	return 0;
}

int jobs_adapter(struct request *req, struct err *err)
{
	static const struct archive adapter = {"adapter.zip", "an adapter"};
	struct job_row job = {0};
	int rc = job_of_request(&job, req, err);

	if (rc == 0)
		rc = respond_archive(req, &job, &adapter, err);
	job_row_done(&job);
	return rc;
}

int jobs_merged(struct request *req, struct err *err)
{
	static const struct archive merged = {"merged.zip", "a merged model"};
	struct job_row job = {0};
	int rc = job_of_request(&job, req, err);

	if (rc == 0 && !job.spec.export_merged)
		rc = err_set(err, ERR_BAD_STATE, "export.merged", "Job '%s' was not asked for a merged model",
			job.id);
	if (rc == 0)
		rc = respond_archive(req, &job, &merged, err);
	job_row_done(&job);
	return rc;
}
