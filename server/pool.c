#include "server/pool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "server/jobdir.h"
#include "server/run.h"

enum {
	TICK_MS = 300,	       /* of the pool while something runs: events are written this often */
	ORPHANS_MS = 1000,     /* how often a worker of an earlier daemon is looked for */
	CLAIM_RETRY_MS = 1000, /* after a fault of the store */
};

struct pool {
	struct server *server;
	struct events *events;
	struct executor *executor;
	struct run **runs; /* slots; NULL: free */
	int64_t slots;
	json_t *orphans; /* ids of jobs whose worker of an earlier daemon may still be there */
	uv_timer_t tick, soon, flush;
	uint64_t orphans_at;
	bool is_stopping, is_closed;
	void (*stopped)(struct server *server);
};

static void arm(struct pool *pool);
static void claim(uv_timer_t *timer);

/* --- slots ------------------------------------------------------------------------------------------ */

static struct run **find_slot(struct pool *pool, const struct run *run)
{
	for (int64_t i = 0; i < pool->slots; i++)
		if (pool->runs[i] == run)
			return &pool->runs[i];
	return NULL;
}

static bool is_idle(const struct pool *pool)
{
	for (int64_t i = 0; i < pool->slots; i++)
		if (pool->runs[i] != NULL)
			return false;
	return true;
}

static struct run *find_run(struct pool *pool, const char *job_id)
{
	for (int64_t i = 0; i < pool->slots; i++)
		if (pool->runs[i] != NULL && strcmp(run_job_id(pool->runs[i]), job_id) == 0)
			return pool->runs[i];
	return NULL;
}

static void flush(struct pool *pool)
{
	struct err err;

	if (events_flush(pool->events, &err) != 0)
		log_err(LOG_ERROR, "events", &err);
}

static void flush_full(uv_timer_t *timer)
{
	struct pool *pool = timer->data;

	flush(pool);
	for (int64_t i = 0; i < pool->slots; i++)
		if (pool->runs[i] != NULL)
			run_go_on(pool->runs[i]);
}

/* In the loop's next turn, so that a talkative worker and the clients take turns. */
static void on_full(void *arg)
{
	struct pool *pool = arg;

	uv_timer_start(&pool->flush, flush_full, 0, 0);
}

static void on_over(void *arg, struct run *run)
{
	struct pool *pool = arg;

	*find_slot(pool, run) = NULL;
	run_free(run);
	pool_wake(pool);
}

/* --- claims ----------------------------------------------------------------------------------------- */

/* A claimed job that could not be started. */
static void give_back(struct pool *pool, const struct job_row *job, const struct err *why)
{
	struct store *store = pool->server->store;
	struct err err;
	int rc;

	if (why->code == ERR_UNAVAILABLE) { /* looked after once its worker is gone */
		json_array_append_new(pool->orphans, json_string(job->id));
		return;
	}
	log_err(LOG_ERROR, "job_start", why);
	events_add(pool->events, job->seq, "error", "message", NULL, "The job failed: %s", why->text);
	rc = store_job_fail(store, job->seq, why, &err);
	if (rc == 0)
		rc = events_flush(pool->events, &err);
	if (rc != 0)
		log_err(LOG_ERROR, "job_start", &err);
}

/* False when there is nothing to claim. */
static bool claim_one(struct pool *pool, struct run **slot)
{
	struct run_host host = {pool->server, pool->events, pool->executor, on_full, on_over, pool};
	struct job_row job = {0};
	struct err err;
	int rc = store_job_claim(&job, pool->server->store, &err);

	if (rc != 0) {
		job_row_done(&job);
		if (rc == -ERR_NOT_FOUND)
			return false;
		log_err(LOG_ERROR, "job_claim", &err);
		uv_timer_start(&pool->soon, claim, CLAIM_RETRY_MS, 0);
		return false;
	}
	rc = run_start(slot, &host, &job, &err);
	if (rc != 0)
		give_back(pool, &job, &err);
	job_row_done(&job);
	return true;
}

static void claim(uv_timer_t *timer)
{
	struct pool *pool = timer->data;
	struct run **slot;

	while (!pool->is_stopping && (slot = find_slot(pool, NULL)) != NULL)
		if (!claim_one(pool, slot))
			break;
	arm(pool);
}

void pool_wake(struct pool *pool)
{
	/* Later, since the caller may be within a transaction. */
	if (!pool->is_closed)
		uv_timer_start(&pool->soon, claim, 0, 0);
}

/* --- jobs of an earlier daemon ---------------------------------------------------------------------- */

static int find_worker(bool *is_there, struct pool *pool, const char *id, struct err *err)
{
	struct executor_job job = {.id = id, .dirfd = -1, .modelfd = -1};
	int rc;

	*is_there = false;
	rc = jobdir_open(&job.dirfd, pool->server, id, true, err);
	if (rc != 0)
		return rc;
	rc = pool->executor->ops->reconcile(is_there, pool->executor, &job, err);
	close(job.dirfd);
	return rc;
}

/* Its worker is gone: the job is queued again where it was running. Not a crash of its worker, so not counted. */
static int take_back(struct pool *pool, const char *id, struct err *err)
{
	struct job_row job = {0};
	int rc = store_job_get(&job, pool->server->store, id, err);

	if (rc == 0)
		rc = store_job_requeue(pool->server->store, job.seq, job.crashes, job.crash_place, err);
	if (rc == 0 && job_is_finished(job.status))
		jobdir_clean(pool->server, id);
	if (rc == 0 && (job.status == JOB_VALIDATING || job.status == JOB_RUNNING))
		events_add(pool->events, job.seq, "warn", "message", NULL,
			"The service was restarted; the job goes on from its last checkpoint");
	job_row_done(&job);
	return rc;
}

static void look_after_orphans(struct pool *pool)
{
	struct err err;

	for (size_t i = json_array_size(pool->orphans); i-- > 0;) {
		const char *id = json_string_value(json_array_get(pool->orphans, i));
		bool is_there;
		int rc = find_worker(&is_there, pool, id, &err);

		if (rc == 0 && is_there)
			continue;
		if (rc == 0)
			rc = take_back(pool, id, &err);
		if (rc != 0) {
			log_err(LOG_ERROR, "job_recover", &err);
			continue;
		}
		json_array_remove(pool->orphans, i);
		pool_wake(pool);
	}
	pool->orphans_at = uv_now(pool->server->loop) + ORPHANS_MS;
}

/* --- clock ------------------------------------------------------------------------------------------ */

static void end_when_stopped(struct pool *pool)
{
	if (!pool->is_stopping || pool->is_closed || !is_idle(pool))
		return;
	pool->is_closed = true;
	uv_close((uv_handle_t *)&pool->tick, NULL);
	uv_close((uv_handle_t *)&pool->soon, NULL);
	uv_close((uv_handle_t *)&pool->flush, NULL);
	pool->stopped(pool->server);
}

static void on_tick(uv_timer_t *timer)
{
	struct pool *pool = timer->data;

	pool->executor->ops->poll(pool->executor);
	flush(pool);
	for (int64_t i = 0; i < pool->slots; i++)
		if (pool->runs[i] != NULL)
			run_tick(pool->runs[i]);
	if (json_array_size(pool->orphans) > 0 && uv_now(pool->server->loop) >= pool->orphans_at)
		look_after_orphans(pool);
	arm(pool);
}

/* The clock runs while there is something to look at. */
static void arm(struct pool *pool)
{
	end_when_stopped(pool);
	if (pool->is_closed)
		return;
	if (is_idle(pool) && json_array_size(pool->orphans) == 0 && events_pending(pool->events) == 0)
		uv_timer_stop(&pool->tick);
	else if (!uv_is_active((uv_handle_t *)&pool->tick))
		uv_timer_start(&pool->tick, on_tick, TICK_MS, TICK_MS);
}

/* --- life ------------------------------------------------------------------------------------------- */

static int new_executor(struct pool *pool, struct err *err)
{
	struct executor_options options = {
		.loop = pool->server->loop,
		.program = pool->server->config->worker,
		.threads = pool->server->config->threads,
		.sandbox = pool->server->config->sandbox,
	};

	return executor_local_new(&pool->executor, &options, err);
}

static int init(struct pool *pool, struct err *err)
{
	pool->slots = pool->server->config->workers;
	pool->runs = calloc((size_t)pool->slots, sizeof(*pool->runs));
	pool->events = events_new(pool->server->store);
	pool->orphans = json_array();
	if (pool->runs == NULL || pool->events == NULL || pool->orphans == NULL)
		return err_nomem(err);
	return new_executor(pool, err);
}

int pool_start(struct pool **out, struct server *server, struct err *err)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	int rc;

	if (pool == NULL)
		return err_nomem(err);
	pool->server = server;
	rc = init(pool, err);
	if (rc == 0)
		rc = jobdir_sweep(server, err);
	if (rc == 0)
		rc = store_job_unsettled(pool->orphans, server->store, err);
	if (rc != 0) {
		pool_free(pool);
		return rc;
	}
	uv_timer_init(server->loop, &pool->tick);
	uv_timer_init(server->loop, &pool->soon);
	uv_timer_init(server->loop, &pool->flush);
	pool->tick.data = pool->soon.data = pool->flush.data = pool;
	look_after_orphans(pool);
	pool_wake(pool);
	*out = pool;
	return 0;
}

struct events *pool_events(struct pool *pool)
{
	return pool->events;
}

static bool is_orphan(const struct pool *pool, const char *job_id)
{
	json_t *id;
	size_t i;

	json_array_foreach(pool->orphans, i, id) if (strcmp(json_string_value(id), job_id) == 0) return true;
	return false;
}

void pool_stop_job(struct pool *pool, const char *job_id, bool is_for_good)
{
	struct run *run = find_run(pool, job_id);

	if (run != NULL)
		run_stop(run, is_for_good ? RUN_CANCEL : RUN_PAUSE);
	else if (is_for_good &&
		 !is_orphan(pool, job_id)) /* an orphan's directory is cleaned once it is gone */
		jobdir_clean(pool->server, job_id);
}

void pool_stop(struct pool *pool, void (*stopped)(struct server *server))
{
	pool->is_stopping = true;
	pool->stopped = stopped;
	for (int64_t i = 0; i < pool->slots; i++)
		if (pool->runs[i] != NULL)
			run_stop(pool->runs[i], RUN_SHUTDOWN);
	pool_wake(pool);
}

void pool_free(struct pool *pool)
{
	if (pool == NULL)
		return;
	if (pool->executor != NULL)
		pool->executor->ops->free(pool->executor);
	events_free(pool->events);
	json_decref(pool->orphans);
	free(pool->runs);
	free(pool);
}
