/*
 * api_jobs: /v1/fine_tuning/jobs. Handlers read and change rows; what a change means for a worker is the pool's.
 */
#ifndef OBLIVIATE_API_JOBS_H
#define OBLIVIATE_API_JOBS_H

#include "server/routes.h"
#include "server/store_job.h"

#define SCAN_ID_PREFIX "scan-"

int jobs_create(struct request *req, struct err *err);
int jobs_list(struct request *req, struct err *err);
int jobs_get(struct request *req, struct err *err);
int jobs_cancel(struct request *req, struct err *err);
int jobs_pause(struct request *req, struct err *err);
int jobs_resume(struct request *req, struct err *err);
/* A list, or with Accept: text/event-stream a stream (event_stream.c). */
int jobs_events(struct request *req, struct err *err);
int jobs_checkpoints(struct request *req, struct err *err);
int jobs_report(struct request *req, struct err *err);
int jobs_gate(struct request *req, struct err *err);
int jobs_log(struct request *req, struct err *err);
int jobs_adapter(struct request *req, struct err *err);
int jobs_merged(struct request *req, struct err *err);

/* ---- what api_scans.c shares: the handlers above that have an {id} serve scans as well ---- */

/* The job that the path names; ERR_NOT_FOUND also where it is a scan under a job's route, or the other way round. */
int job_of_request(struct job_row *out, struct request *req, struct err *err) MUST_USE;
/* Answer the object of the job or scan. */
int job_respond(struct request *req, const char *id, struct err *err) MUST_USE;
/* Fill in digest and name of an uploaded base model. */
int job_resolve_model(struct spec_ref *ref, struct store *store, struct err *err) MUST_USE;
/* A job or scan whose spec is whole: queue it under a new id with this prefix, answer it. ERR_BUSY when too many wait. */
int job_submit(struct request *req, struct job_row *job, const char *prefix, struct err *err) MUST_USE;

#endif
