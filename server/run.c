#include "server/run.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/progress.h"
#include "server/jobdir.h"
#include "server/result.h"

enum {
	CRASHES_MAX = 3,	  /* without progress */
	ARTIFACTS_MAX = 256,	  /* of one job */
	LINES_MAX = 5000000,	  /* of one worker */
	LOG_BYTES_MAX = 64 << 20, /* of one job */
	SETTLE_RETRY_MS = 1000,
	ESTIMATE_MS = 2000, /* how often the expected end is written */
};

enum run_state { RUN_WORKING, RUN_CHECKING, RUN_SETTLING, RUN_OVER };
enum outcome { OUTCOME_SUCCEED, OUTCOME_FAIL, OUTCOME_REQUEUE, OUTCOME_DROP };

struct run {
	struct run_host host;
	struct job_row job;
	int dirfd;
	struct worker *worker; /* NULL: gone */
	struct progress_reader reader;
	enum run_state state;
	enum run_stop stop;
	uint64_t started_ms, retry_ms, estimate_ms;

	/* what its lines said */
	char phase[PROGRESS_NAME_BYTES];
	int phase_rank;
	int64_t step;
	double eta_s;		      /* NAN: not known */
	struct checkpoint checkpoint; /* of the epoch that is being reported */
	struct artifact *artifacts;
	size_t n_artifacts;
	struct err said; /* its error line */
	struct err breach;

	/* how it ended */
	struct worker_exit how;
	enum outcome outcome;
	struct err failure;
	int crashes;
	int64_t crash_place;
	uv_work_t work;
	struct result result;
	struct err work_err;
	int work_rc;
};

/* The phases that workers have, in their order: a crash in a later one is progress over a crash in an earlier one.
 * In the first, the job is still validating_files. */
static const char *const phases[] = {
	"validate", "scan", "undefended", "search", "train", "flips", "evaluate", "export"};

/* --- lines ------------------------------------------------------------------------------------------ */

static int64_t now_s(void)
{
	return time(NULL);
}

/* How far the run got, as one number that grows. */
static int64_t place(const struct run *run)
{
	return (int64_t)run->phase_rank << 32 | (run->step & 0xffffffff);
}

static void say(struct run *run, const char *level, const char *message)
{
	events_add(run->host.events, run->job.seq, level, "message", NULL, "%s", message);
}

static int on_phase(struct run *run, const struct progress *line, struct err *err)
{
	for (size_t i = 0; i < NELEM(phases); i++)
		if (strcmp(line->name, phases[i]) == 0)
			run->phase_rank = (int)i;
	snprintf(run->phase, sizeof(run->phase), "%s", line->name);
	run->step = 0;
	run->eta_s = NAN;
	events_add(run->host.events, run->job.seq, "info", "message", json_pack("{s:s}", "phase", line->name),
		"Phase: %s", line->name);
	if (run->job.status != JOB_VALIDATING || strcmp(line->name, phases[0]) == 0)
		return 0;
	run->job.status = JOB_RUNNING;
	if (store_job_set_running(run->host.server->store, run->job.seq, err) == -ERR_BAD_STATE)
		return 0; /* paused or cancelled meanwhile */
	return -(int)err->code;
}

static json_t *real_json(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static int on_step(struct run *run, const struct progress *line, struct err *err)
{
	json_t *data = json_pack("{s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "phase",
		run->phase, "step", (json_int_t)line->step, "of", (json_int_t)line->of, "epoch",
		(json_int_t)line->epoch, "loss", real_json(line->loss), "train_loss", real_json(line->loss),
		"ce", real_json(line->ce), "amplify", real_json(line->amplify), "attention",
		real_json(line->attention), "learning_rate", real_json(line->learning_rate),
		"tokens_per_second", real_json(line->tokens_per_second), "eta_s", real_json(line->eta_s));

	(void)err;
	run->step = line->step;
	run->eta_s = line->eta_s;
	if (isnan(line->loss))
		events_add(run->host.events, run->job.seq, "info", "metrics", data, "Step %lld/%lld",
			(long long)line->step, (long long)line->of);
	else
		events_add(run->host.events, run->job.seq, "info", "metrics", data,
			"Step %lld/%lld: training loss=%.4f", (long long)line->step, (long long)line->of,
			line->loss);
	return 0;
}

/* Three metrics make a checkpoint of the epoch; the last of them completes it. */
static int note_checkpoint(struct run *run, const struct progress *line, struct err *err)
{
	struct checkpoint *checkpoint = &run->checkpoint;
	int rc;

	if (strcmp(run->phase, "train") != 0)
		return 0;
	if (strcmp(line->name, "train_loss") == 0)
		checkpoint->train_loss = line->value;
	if (strcmp(line->name, "valid_loss") == 0)
		checkpoint->valid_loss = line->value;
	if (strcmp(line->name, "valid_accuracy") != 0)
		return 0;
	checkpoint->valid_accuracy = line->value;
	checkpoint->step = run->step;
	rc = store_checkpoint_add(run->host.server->store, &run->job, checkpoint, err);
	checkpoint->train_loss = checkpoint->valid_loss = NAN;
	return rc;
}

static int on_metric(struct run *run, const struct progress *line, struct err *err)
{
	json_t *data = json_pack("{s:s, s:o}", "phase", run->phase, line->name, real_json(line->value));

	if (run->step > 0) /* a metric of training belongs to the step before it */
		json_object_set_new(data, "step", json_integer(run->step));
	events_add(run->host.events, run->job.seq, "info", "metrics", data, "%s = %.6g", line->name,
		line->value);
	return note_checkpoint(run, line, err);
}

static int on_artifact(struct run *run, const struct progress *line, struct err *err)
{
	struct artifact *grown;

	if (run->n_artifacts == ARTIFACTS_MAX)
		return err_set(err, ERR_INVALID_DATA, line->path, "more than %d artifacts", ARTIFACTS_MAX);
	for (size_t i = 0; i < run->n_artifacts; i++)
		if (strcmp(run->artifacts[i].path, line->path) == 0)
			return err_set(err, ERR_INVALID_DATA, line->path, "the artifact is announced twice");
	grown = realloc(run->artifacts, (run->n_artifacts + 1) * sizeof(*grown));
	if (grown == NULL)
		return err_nomem(err);
	run->artifacts = grown;
	grown += run->n_artifacts++;
	*grown = (struct artifact){.bytes = line->bytes};
	snprintf(grown->path, sizeof(grown->path), "%s", line->path);
	memcpy(grown->sha256, line->sha256, sizeof(grown->sha256));
	return 0;
}

static int on_error(struct run *run, const struct progress *line, struct err *err)
{
	(void)err;
	if (run->said.code == ERR_NONE)
		run->said = line->fault;
	return 0;
}

static int on_done(struct run *run, const struct progress *line, struct err *err)
{
	(void)run;
	(void)line;
	(void)err;
	return 0;
}

static int (*const on_line[])(struct run *run, const struct progress *line, struct err *err) = {
	[PROGRESS_PHASE] = on_phase,
	[PROGRESS_STEP] = on_step,
	[PROGRESS_METRIC] = on_metric,
	[PROGRESS_ARTIFACT] = on_artifact,
	[PROGRESS_ERROR] = on_error,
	[PROGRESS_DONE] = on_done,
};

static void breach(struct run *run, const struct err *err)
{
	if (run->breach.code == ERR_NONE)
		err_set(&run->breach, ERR_INTERNAL, "", "the worker broke the protocol: %.300s%s%.600s",
			err->where, err->where[0] != '\0' ? ": " : "", err->text);
	run_stop(run, RUN_BREACH);
}

/* The store's faults are not the worker's: its line is lost, and the log says so. */
static void take_line(struct run *run, const struct progress *line)
{
	struct err err = {0};

	if (run->reader.lines > LINES_MAX)
		err_set(&err, ERR_INVALID_DATA, "", "more than %d lines", LINES_MAX);
	else
		on_line[line->type](run, line, &err);
	if (err.code == ERR_INVALID_DATA)
		breach(run, &err);
	else if (err.code != ERR_NONE && err.code != ERR_BAD_STATE)
		log_err(LOG_ERROR, "job_progress", &err);
}

static void on_output(void *arg, const char *data, size_t len)
{
	struct run *run = arg;
	struct progress line;
	struct err err;
	int rc;

	if (run->stop >= RUN_CANCEL && run->stop != RUN_TIME_LIMIT)
		return;
	rc = progress_reader_add(&run->reader, data, len, &err);
	while (rc == 0 && (rc = progress_reader_next(&line, &run->reader, &err)) == 1) {
		take_line(run, &line);
		rc = 0;
		if (run->stop == RUN_BREACH)
			return;
	}
	if (rc < 0)
		breach(run, &err);
	if (run->worker == NULL || events_pending(run->host.events) < EVENTS_PENDING_MAX)
		return;
	run->host.executor->ops->hold(run->worker, true);
	run->host.full(run->host.arg);
}

/* --- outcome ---------------------------------------------------------------------------------------- */

/* Which parameter of the job a fault belongs to, by the place that the worker names ... */
static const struct {
	const char *prefix, *param;
	size_t ref;
} sources[] = {
	{"train.", "training_file", offsetof(struct spec, training_file)},
	{"validation.", "validation_file", offsetof(struct spec, validation_file)},
	{"test.", "test_file", offsetof(struct spec, test_file)},
};

/* ... or by its code. */
static const enum err_code model_faults[] = {ERR_INVALID_MODEL, ERR_UNSAFE_PICKLE, ERR_UNSUPPORTED_FORMAT,
	ERR_UNSUPPORTED_MODEL, ERR_INVALID_TOKENIZER};

static const char *param_of_code(enum err_code code)
{
	for (size_t i = 0; i < NELEM(model_faults); i++)
		if (model_faults[i] == code)
			return "model";
	return code == ERR_INVALID_DATA ? "training_file" : "";
}

/* The worker's error as the client gets it: the file has the client's name, and a parameter. */
static void explain(struct err *out, const struct run *run)
{
	const struct err *said = &run->said;

	for (size_t i = 0; i < NELEM(sources); i++) {
		const struct spec_ref *ref = (const void *)((const char *)&run->job.spec + sources[i].ref);
		const char *rest = strpbrk(said->where, ": ");

		if (strncmp(said->where, sources[i].prefix, strlen(sources[i].prefix)) != 0 ||
			ref->id[0] == '\0')
			continue;
		err_set(out, said->code, sources[i].param, "%s%.200s: %.700s", ref->name,
			rest != NULL ? rest : "", said->text);
		return;
	}
	err_set(out, said->code, param_of_code(said->code), "%.300s%s%.700s", said->where,
		said->where[0] != '\0' ? ": " : "", said->text);
}

static void fail(struct run *run, enum err_code code, const char *why)
{
	run->outcome = OUTCOME_FAIL;
	err_set(&run->failure, code, "", "%s", why);
}

static void judge_crash(struct run *run)
{
	bool has_progress = place(run) > run->job.crash_place || run->job.crashes == 0;
	char how[64];

	run->crashes = has_progress ? 1 : run->job.crashes + 1;
	run->crash_place = has_progress ? place(run) : run->job.crash_place;
	snprintf(how, sizeof(how), run->how.signal != 0 ? "signal %d" : "exit code %d",
		run->how.signal != 0 ? run->how.signal : run->how.status);
	if (run->crashes < CRASHES_MAX) {
		run->outcome = OUTCOME_REQUEUE;
		events_add(run->host.events, run->job.seq, "warn", "message", NULL,
			"The worker ended unexpectedly (%s); the job goes on from its last checkpoint", how);
		return;
	}
	run->outcome = OUTCOME_FAIL;
	err_set(&run->failure, ERR_CRASHED, "",
		"the worker ended unexpectedly (%s) %d times without getting past phase \"%s\", step %lld",
		how, run->crashes, run->phase[0] != '\0' ? run->phase : "start", (long long)run->step);
}

static bool is_complete(const struct run *run)
{
	return run->how.status == 0 && run->how.signal == 0 && run->reader.is_done &&
	       run->said.code == ERR_NONE;
}

/* What to make of the end; true where the artifacts must be checked first. */
static bool judge(struct run *run)
{
	run->crashes = run->job.crashes;
	run->crash_place = run->job.crash_place;
	if (run->stop == RUN_CANCEL) {
		run->outcome = OUTCOME_DROP;
	} else if (run->breach.code != ERR_NONE) {
		run->outcome = OUTCOME_FAIL;
		run->failure = run->breach;
	} else if (is_complete(run)) {
		return true;
	} else if (run->stop == RUN_TIME_LIMIT) {
		fail(run, ERR_TIME_LIMIT, "the job took longer than the service allows");
	} else if (run->said.code != ERR_NONE && run->said.code != ERR_STOPPED) {
		run->outcome = OUTCOME_FAIL;
		explain(&run->failure, run);
	} else if (run->how.status == 0 && run->how.signal == 0) {
		fail(run, ERR_INTERNAL, "the worker ended without saying that it was done");
	} else if (run->stop != RUN_GOES_ON) {
		run->outcome = OUTCOME_REQUEUE;
	} else {
		judge_crash(run);
	}
	return false;
}

/* --- settling --------------------------------------------------------------------------------------- */

static int add_event(struct run *run, const char *level, const char *message, struct err *err)
{
	struct event event = {
		.job_seq = run->job.seq, .created_at = now_s(), .level = level, .type = "message"};

	snprintf(event.message, sizeof(event.message), "%s", message);
	return store_event_add(run->host.server->store, &event, err);
}

static int write_failure(struct run *run, struct err *err)
{
	char message[512];
	int rc = store_job_fail(run->host.server->store, run->job.seq, &run->failure, err);

	snprintf(message, sizeof(message), "The job failed: %.400s", run->failure.text);
	return rc != 0 ? rc : add_event(run, "error", message, err);
}

static int write_model(struct run *run, const char *name, struct err *err)
{
	const struct artifact *zip = &run->result.zip[RESULT_ADAPTER];
	struct model_row model = {.bytes = zip->bytes, .created_at = now_s()};

	snprintf(model.id, sizeof(model.id), "%s", name);
	memcpy(model.sha256, zip->sha256, sizeof(model.sha256));
	memcpy(model.job_id, run->job.id, sizeof(model.job_id));
	return store_model_add(run->host.server->store, &model, err);
}

static int write_artifacts(struct run *run, struct err *err)
{
	struct store *store = run->host.server->store;
	int rc = 0;

	for (int which = 0; rc == 0 && which < RESULT_ARCHIVES; which++)
		if (run->result.zip[which].path[0] != '\0')
			rc = store_artifact_add(store, run->job.seq, &run->result.zip[which], err);
	for (size_t i = 0; rc == 0 && i < run->n_artifacts; i++)
		rc = store_artifact_add(store, run->job.seq, &run->artifacts[i], err);
	for (size_t i = 0; rc == 0 && i < RESULT_FILES; i++) {
		run->result.files[i].created_at = now_s();
		rc = store_file_add(store, &run->result.files[i], err);
	}
	return rc;
}

/* It makes no model and no files. */
static int write_scan(struct run *run, struct err *err)
{
	int rc = store_job_succeed(run->host.server->store, run->job.seq, NULL, -1, run->result.report, err);

	return rc != 0 ? rc : add_event(run, "info", "The scan has successfully completed", err);
}

static int write_success(struct run *run, struct err *err)
{
	char name[STORE_NAME_BYTES];
	int rc;

	if (run->job.spec.type == SPEC_SCAN)
		return write_scan(run, err);
	job_model_name(name, &run->job);
	rc = store_job_succeed(run->host.server->store, run->job.seq, name, run->result.trained_tokens,
		run->result.report, err);
	if (rc == 0)
		rc = write_model(run, name, err);
	if (rc == 0)
		rc = write_artifacts(run, err);
	return rc != 0 ? rc : add_event(run, "info", "The job has successfully completed", err);
}

static int write_requeue(struct run *run, struct err *err)
{
	return store_job_requeue(run->host.server->store, run->job.seq, run->crashes, run->crash_place, err);
}

static int write_drop(struct run *run, struct err *err)
{
	return store_job_stopped(run->host.server->store, run->job.seq, err);
}

static int (*const write_outcome[])(struct run *run, struct err *err) = {
	[OUTCOME_SUCCEED] = write_success,
	[OUTCOME_FAIL] = write_failure,
	[OUTCOME_REQUEUE] = write_requeue,
	[OUTCOME_DROP] = write_drop,
};

static int write_once(struct run *run, struct err *err)
{
	struct store *store = run->host.server->store;
	int rc = events_flush(run->host.events, err);

	if (rc == 0)
		rc = store_begin(store, err);
	if (rc != 0)
		return rc;
	rc = write_outcome[run->outcome](run, err);
	if (rc != 0) {
		store_rollback(store);
		return rc;
	}
	return store_commit(store, err);
}

static void settle(struct run *run)
{
	struct err err;
	int rc = write_once(run, &err);

	if (rc == -ERR_BAD_STATE) { /* cancelled while we looked the other way */
		if (run->outcome == OUTCOME_SUCCEED)
			result_undo(&run->result);
		run->outcome = OUTCOME_DROP;
		rc = write_once(run, &err);
	}
	if (rc != 0) {
		log_err(LOG_ERROR, "job_settle", &err);
		run->retry_ms = uv_now(run->host.server->loop) + SETTLE_RETRY_MS;
		return;
	}
	if (run->outcome != OUTCOME_REQUEUE)
		jobdir_clean(run->host.server, run->job.id);
	events_wake(run->host.events, run->job.seq);
	run->state = RUN_OVER;
	run->host.over(run->host.arg, run);
}

/* --- checking, on the thread pool ------------------------------------------------------------------- */

static void check(uv_work_t *work)
{
	struct run *run = work->data;

	run->work_rc = result_make(&run->result, &run->work_err);
}

static void on_checked(uv_work_t *work, int status)
{
	struct run *run = work->data;

	(void)status;
	run->state = RUN_SETTLING;
	run->outcome = OUTCOME_SUCCEED;
	if (run->work_rc != 0) {
		run->outcome = OUTCOME_FAIL;
		err_set(&run->failure, run->work_err.code, "", "%.300s: %.700s", run->work_err.where,
			run->work_err.text);
	}
	settle(run);
}

static void start_check(struct run *run)
{
	run->state = RUN_CHECKING;
	run->result = (struct result){
		.job = &run->job,
		.said = run->artifacts,
		.n_said = run->n_artifacts,
		.dirfd = run->dirfd,
		.filesfd = run->host.server->dir.files,
	};
	run->work.data = run;
	if (uv_queue_work(run->host.server->loop, &run->work, check, on_checked) != 0) {
		run->work_rc = err_nomem(&run->work_err);
		on_checked(&run->work, 0);
	}
}

static void on_ended(void *arg, const struct worker_exit *how)
{
	struct run *run = arg;
	struct err err;

	run->worker = NULL;
	run->how = *how;
	if (run->stop < RUN_CANCEL && how->status == 0 && how->signal == 0 &&
		progress_reader_end(&run->reader, &err) != 0)
		breach(run, &err);
	if (judge(run)) {
		start_check(run);
	} else {
		run->state = RUN_SETTLING;
		settle(run);
	}
}

/* --- life ------------------------------------------------------------------------------------------- */

const char *run_job_id(const struct run *run)
{
	return run->job.id;
}

void run_stop(struct run *run, enum run_stop why)
{
	const struct server *server = run->host.server;

	if (why > run->stop)
		run->stop = why;
	if (run->worker != NULL)
		run->host.executor->ops->cancel(run->worker, server->config->stop_grace * 1000);
}

static void check_limits(struct run *run)
{
	uint64_t limit_ms = (uint64_t)run->host.server->config->job_time_limit * 1000;
	struct stat st;
	struct err err;

	if (limit_ms != 0 && uv_now(run->host.server->loop) > run->started_ms + limit_ms)
		run_stop(run, RUN_TIME_LIMIT);
	if (fstatat(run->dirfd, "log", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > LOG_BYTES_MAX) {
		err_set(&err, ERR_INVALID_DATA, "log", "more than %d bytes", LOG_BYTES_MAX);
		breach(run, &err);
	}
}

static void estimate(struct run *run)
{
	struct err err;
	int64_t finish = now_s() + (int64_t)run->eta_s;
	uint64_t now = uv_now(run->host.server->loop);

	if (!isfinite(run->eta_s) || run->eta_s < 0 || run->eta_s > 1e9 || now < run->estimate_ms ||
		finish == run->job.estimated_finish)
		return;
	run->estimate_ms = now + ESTIMATE_MS;
	run->job.estimated_finish = finish;
	if (store_job_estimate(run->host.server->store, run->job.seq, finish, &err) != 0)
		log_err(LOG_ERROR, "job_estimate", &err);
}

void run_go_on(struct run *run)
{
	if (run->worker != NULL)
		run->host.executor->ops->hold(
			run->worker, events_pending(run->host.events) >= EVENTS_PENDING_MAX);
}

void run_tick(struct run *run)
{
	if (run->state == RUN_SETTLING && uv_now(run->host.server->loop) >= run->retry_ms) {
		settle(run);
		return;
	}
	if (run->worker == NULL)
		return;
	check_limits(run);
	estimate(run);
	run_go_on(run);
}

static int submit(struct run *run, struct err *err)
{
	const struct server *server = run->host.server;
	struct executor_job job = {.id = run->job.id, .dirfd = run->dirfd};
	struct worker_events events = {on_output, on_ended, run};
	int rc;

	job.modelfd = openat(
		server->dir.models, run->job.spec.model.id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (job.modelfd < 0)
		return err_errno(err, errno, run->job.spec.model.id, "open the model's directory");
	rc = run->host.executor->ops->submit(&run->worker, run->host.executor, &job, &events, err);
	close(job.modelfd);
	return rc;
}

/* A worker of an earlier daemon may still be there: nothing of its directory is touched then. */
static int check_alone(struct run *run, struct err *err)
{
	struct executor_job job = {.id = run->job.id, .dirfd = run->dirfd, .modelfd = -1};
	bool is_there = false;
	int rc = run->host.executor->ops->reconcile(&is_there, run->host.executor, &job, err);

	if (rc == 0 && is_there)
		rc = err_set(err, ERR_UNAVAILABLE, run->job.id, "another worker is at this job");
	return rc;
}

int run_start(struct run **out, const struct run_host *host, struct job_row *job, struct err *err)
{
	struct run *run = calloc(1, sizeof(*run));
	int rc;

	if (run == NULL)
		return err_nomem(err);
	run->host = *host;
	run->job = *job;
	run->eta_s = NAN;
	run->checkpoint = (struct checkpoint){job->seq, 0, NAN, NAN, NAN};
	run->started_ms = uv_now(host->server->loop);
	rc = jobdir_open(&run->dirfd, host->server, job->id, true, err);
	if (rc == 0)
		rc = check_alone(run, err);
	if (rc == 0)
		rc = jobdir_fill(host->server, run->dirfd, &run->job.spec, err);
	if (rc == 0)
		rc = submit(run, err);
	if (rc != 0) {
		if (run->dirfd > 0)
			close(run->dirfd);
		free(run);
		return rc;
	}
	say(run, "info",
		job->crashes > 0 ? "Worker started again" : "Worker started: reading model and data");
	*job = (struct job_row){0};
	*out = run;
	return 0;
}

void run_free(struct run *run)
{
	if (run == NULL)
		return;
	if (run->dirfd > 0)
		close(run->dirfd);
	result_done(&run->result);
	progress_reader_done(&run->reader);
	free(run->artifacts);
	job_row_done(&run->job);
	free(run);
}
