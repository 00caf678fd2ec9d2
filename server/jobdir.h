/*
 * jobdir: the directory of a job, jobs/<id>/.
 *
 *   spec.json     what the worker is to do            stays
 *   log           what it wrote on descriptor 2       stays
 *   data/         train.EXT ...: hard links           until the job is finished
 *   out/          what the worker leaves; the lock    until the job is finished
 *   adapter.zip   of a job that succeeded             stays
 *   merged.zip    likewise, where it was asked for    stays
 *   report.json   likewise                            stays
 *   adapter.json, adapter.safetensors   likewise: its parts, for jobs that start from them
 */
#ifndef OBLIVIATE_JOBDIR_H
#define OBLIVIATE_JOBDIR_H

#include "common/spec.h"
#include "server/server.h"

/* Open jobs/<id>, making it if `make`. */
int jobdir_open(
	int *out, const struct server *server, const char *job_id, bool make, struct err *err) MUST_USE;

/* What a worker needs, anew: spec.json and data/, and out/ as it is. No worker may be there. */
int jobdir_fill(const struct server *server, int dirfd, const struct spec *spec, struct err *err) MUST_USE;

/* Does the job's directory have what another one can start from? */
bool jobdir_has_adapter(const struct server *server, const char *job_id);

/* Remove data/ and out/ of a finished job, on the thread pool. */
void jobdir_clean(const struct server *server, const char *job_id);

/* At start: finish what jobdir_clean did not, and remove directories without a job. */
int jobdir_sweep(struct server *server, struct err *err) MUST_USE;

#endif
