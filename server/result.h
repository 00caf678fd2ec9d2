/*
 * result: what a worker left in out/ becomes files of ours, if it is what the worker said it is.
 *
 * Runs on libuv's thread pool: touches its struct and descriptors of its own, not the store. The caller adds the
 * rows afterwards, or calls result_undo.
 */
#ifndef OBLIVIATE_RESULT_H
#define OBLIVIATE_RESULT_H

#include "server/store_job.h"

enum { RESULT_ADAPTER, RESULT_MERGED, RESULT_ARCHIVES };
enum { RESULT_FILES = 3 }; /* metrics.csv, report.json, adapter.zip, in this order */

struct result {
	/* in; borrowed, not to be touched by others meanwhile */
	const struct job_row *job;
	const struct artifact *said; /* what the worker announced */
	size_t n_said;
	int dirfd;   /* the job's directory */
	int filesfd; /* files/ */
	/* out */
	json_t *report;
	struct artifact zip[RESULT_ARCHIVES]; /* in the job's directory; no path: not there */
	struct file_row files[RESULT_FILES];
	int64_t trained_tokens;
};

/* Check size and SHA-256 of each artifact, write the archives, the report and the result files. */
int result_make(struct result *result, struct err *err) MUST_USE;
/* Remove the files that result_make wrote to files/. */
void result_undo(struct result *result);
void result_done(struct result *result);

#endif
