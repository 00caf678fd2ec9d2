/*
 * report: the report of a job: what its worker measured, and what the daemon knows better: job, status, ids and
 * digests of the inputs, gate, artifacts.
 */
#ifndef OBLIVIATE_SERVER_REPORT_H
#define OBLIVIATE_SERVER_REPORT_H

#include "server/store_job.h"

/*
 * *out: the report object. `worker` is the worker's report.json, NULL while the job is unfinished or where it
 * failed; `epochs` (borrowed, may be NULL) what is known of the training then. `artifacts` is a list of
 * {path, bytes, sha256}, NULL for none. New reference.
 */
int report_compose(json_t **out, const struct job_row *job, enum job_status status, json_t *worker,
	json_t *epochs, json_t *artifacts, struct err *err) MUST_USE;

/* The same of a scan: object "scan.report". Without the worker's report nothing is decided. */
int report_compose_scan(json_t **out, const struct job_row *job, enum job_status status, json_t *worker,
	struct err *err) MUST_USE;

/*
 * The verdict on a report (common/gate.h) by the job's own gate; `asked` (NULL: nothing) is an object like it, whose
 * thresholds stand in the place of all of the job's, and its rule in that of the job's. NULL when out of memory. New
 * reference.
 */
json_t *report_verdict(const json_t *report, const struct job_row *job, json_t *asked);

#endif
