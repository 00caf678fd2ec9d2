/*
 * api_jobs: /v1/fine_tuning/jobs. Handlers read and change rows; what a change means for a worker is the pool's.
 */
#ifndef OBLIVIATE_API_JOBS_H
#define OBLIVIATE_API_JOBS_H

#include "server/routes.h"

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

/* /v1/scans: named by the interface, not built yet. */
int scans_refuse(struct request *req, struct err *err);

#endif
