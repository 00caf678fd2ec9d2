/*
 * store_job: the rows of a job: the job itself, its inputs, events, checkpoints and artifacts.
 *
 *               claim                phase            done
 *   queued ------------> validating_files ---> running ----> succeeded
 *     ^  ^                     |                  |  `-----> failed (also from validating_files)
 *     |  `---- worker gone ----+------------------'
 *     |                        | pause            | pause
 *     `---- resume ---- paused <------------------'           cancelled: from every unfinished state
 *
 * `is_stopping` is set while a worker that was told to stop may still be there; a queued job with it is not claimed.
 */
#ifndef OBLIVIATE_STORE_JOB_H
#define OBLIVIATE_STORE_JOB_H

#include "common/spec.h"
#include "server/store.h"

enum job_status {
	JOB_QUEUED,
	JOB_VALIDATING,
	JOB_RUNNING,
	JOB_PAUSED,
	JOB_SUCCEEDED,
	JOB_FAILED,
	JOB_CANCELLED,
	JOB_STATUS_COUNT
};

const char *job_status_name(enum job_status status);
/* succeeded, failed or cancelled: nothing changes any more. */
bool job_is_finished(enum job_status status);
/* "ft:<model>:<suffix>:<job>", the name of what a job makes. */
struct job_row;
void job_model_name(char out[STORE_NAME_BYTES], const struct job_row *job);
/* Append the part of a job's object that never changes (the spec as the interface shows it) as a JSON object. */
int job_view(struct buf *out, const struct spec *spec, struct err *err) MUST_USE;

struct job_row {
	int64_t seq;
	char id[STORE_ID_BYTES];
	enum job_status status;
	int64_t created_at;
	int64_t started_at, finished_at;	 /* 0: not yet */
	bool is_stopping;			 /* a worker that was told to stop may be there */
	int crashes;				 /* in a row without progress */
	int64_t crash_place;			 /* furthest place of a crash */
	int64_t trained_tokens;			 /* -1: not known */
	int64_t estimated_finish;		 /* 0: not known */
	char fine_tuned_model[STORE_NAME_BYTES]; /* "" before success */
	struct err error;			 /* where is the parameter */
	struct spec spec;
};

void job_row_done(struct job_row *row);

/* Add the job, its inputs and its first event; sets seq, created_at and status of the row. */
int store_job_add(struct store *store, struct job_row *row, struct err *err) MUST_USE;
/* ERR_NOT_FOUND about the job. */
int store_job_missing(const char *id, struct err *err);
int store_job_get(struct job_row *out, struct store *store, const char *id, struct err *err) MUST_USE;
/* What needs no spec is quicker without: */
int store_job_find(int64_t *seq, struct store *store, const char *id, struct err *err) MUST_USE;
/* Has it finished? True, too, where there is no such job. */
int store_job_is_over(bool *out, struct store *store, int64_t seq, struct err *err) MUST_USE;
/* Append the job object of the interface, or the scan object. */
int store_job_text(struct buf *out, struct store *store, const char *id, struct err *err) MUST_USE;
/* Append job objects; `metadata` (may be NULL): an object of pairs that a job must have, values are strings. */
int store_job_list(struct rows *rows, struct store *store, const struct page *page, const json_t *metadata,
	struct err *err) MUST_USE;
/* Append scan objects. store_job_list has none of them. */
int store_scan_list(
	struct rows *rows, struct store *store, const struct page *page, struct err *err) MUST_USE;
int store_job_count_queued(int64_t *out, struct store *store, struct err *err) MUST_USE;

/* Take the oldest queued job: it is validating_files afterwards. ERR_NOT_FOUND when there is none. */
int store_job_claim(struct job_row *out, struct store *store, struct err *err) MUST_USE;
/* Ids of the jobs that may have a worker: validating_files, running, or told to stop. Appended to the array. */
int store_job_unsettled(json_t *ids, struct store *store, struct err *err) MUST_USE;

/* The changes below return ERR_BAD_STATE when the job is in none of the states that they start from. */
int store_job_set_running(struct store *store, int64_t seq, struct err *err) MUST_USE;
/* Back to queued from validating_files or running, with a count of crashes. Other states stay. */
int store_job_requeue(
	struct store *store, int64_t seq, int crashes, int64_t crash_place, struct err *err) MUST_USE;
/* Clear is_stopping: the worker is gone. */
int store_job_stopped(struct store *store, int64_t seq, struct err *err) MUST_USE;
int store_job_estimate(struct store *store, int64_t seq, int64_t finish, struct err *err) MUST_USE;
/* From queued, validating_files, running; is_stopping is set where a worker may be there. */
int store_job_pause(struct store *store, const char *id, struct err *err) MUST_USE;
int store_job_resume(struct store *store, const char *id, struct err *err) MUST_USE;
int store_job_cancel(struct store *store, const char *id, struct err *err) MUST_USE;

/* From every unfinished state. error->where is the parameter. */
int store_job_fail(struct store *store, int64_t seq, const struct err *error, struct err *err) MUST_USE;
int store_job_succeed(struct store *store, int64_t seq, const char *fine_tuned_model, int64_t trained_tokens,
	const json_t *report, struct err *err) MUST_USE;
/* The report of a succeeded job; ERR_NOT_FOUND before. New reference. */
int store_job_report(json_t **out, struct store *store, const char *id, struct err *err) MUST_USE;

/* ---- events ---- */

struct event {
	int64_t job_seq;
	int64_t created_at;
	const char *level; /* info, warn, error */
	const char *type;  /* message, metrics */
	char message[512];
	json_t *data; /* or NULL; borrowed by store_event_add */
};

int store_event_add(struct store *store, const struct event *event, struct err *err) MUST_USE;
/* Append event objects. `after` is an event's id. */
int store_event_list(struct rows *rows, struct store *store, int64_t job_seq, const struct page *page,
	struct err *err) MUST_USE;
/* Append at most `limit` events with a number above *last, oldest first, as a stream sends them; *last moves on. */
int store_event_follow(struct buf *out, int64_t *last, struct store *store, int64_t job_seq, int limit,
	struct err *err) MUST_USE;
/* The number in an event's id, 0 when it is none. */
int64_t event_number(const char *id);

/* ---- checkpoints and artifacts ---- */

struct checkpoint {
	int64_t job_seq;
	int64_t step;
	double train_loss, valid_loss, valid_accuracy; /* NAN: not known */
};

/* A step that is there already (the job was resumed) stays as it is. Unsynced, as is an estimate: a run says it again. */
int store_checkpoint_add(struct store *store, const struct job_row *job, const struct checkpoint *checkpoint,
	struct err *err) MUST_USE;
int store_checkpoint_list(json_t *data, bool *has_more, struct store *store, const struct job_row *job,
	const struct page *page, struct err *err) MUST_USE;

struct artifact {
	char path[STORE_NAME_BYTES + 1];
	int64_t bytes;
	char sha256[SHA256_HEX_BYTES];
};

int store_artifact_add(
	struct store *store, int64_t job_seq, const struct artifact *artifact, struct err *err) MUST_USE;
int store_artifact_get(struct artifact *out, struct store *store, int64_t job_seq, const char *path,
	struct err *err) MUST_USE;

#endif
