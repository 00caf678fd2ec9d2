/*
 * event_stream: a job's events as server-sent events: those in the store, then those to come, until the job is
 * finished and its last event is out.
 *
 *     id: <growing integer>     what Last-Event-ID resumes after
 *     event: message | metrics
 *     data: <event object>
 *
 *     : ping                    at every tick without news
 */
#ifndef OBLIVIATE_EVENT_STREAM_H
#define OBLIVIATE_EVENT_STREAM_H

#include "server/http.h"
#include "server/store_job.h"

int event_stream_respond(struct request *req, int64_t job_seq, struct err *err) MUST_USE;

#endif
