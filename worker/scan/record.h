/*
 * record: what a phase has found, kept as a JSON file of a job's output directory, for a job that goes on after a stop.
 *
 * {spec: the digest of the job's spec, and what the phase writes}. Written through a temporary file, so whole or absent.
 */
#ifndef OBLIVIATE_RECORD_H
#define OBLIVIATE_RECORD_H

#include <jansson.h>
#include <stdbool.h>

#include "common/err.h"

/* Takes the reference; NULL is out of memory. */
int record_write(
	const char *name, json_t *content, const char *spec_sha256, int dirfd, struct err *err) MUST_USE;

/*
 * *out is NULL where there is no such file, and where it is of another spec or no JSON, with a warning in the log: the
 * phase is done again. Fails where the file cannot be read at all. New reference.
 */
int record_read(json_t **out, const char *name, const char *spec_sha256, int dirfd, struct err *err) MUST_USE;

/* The warning for one that holds something else than its phase wrote. */
void record_left_aside(const char *name);

#endif
