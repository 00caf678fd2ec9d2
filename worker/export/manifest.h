/*
 * manifest: manifest.json, the SHA-256 of every input and output of a job.
 *
 *   {"inputs": {"model", "training_file", "validation_file", "test_file", "init_from", "spec": SHA-256 or null},
 *    "outputs": [{"path", "bytes", "sha256"}]}
 *
 * Inputs are named by their part in the job and never by an upload's id, so that the same bytes give the
 * same manifest.
 */
#ifndef OBLIVIATE_MANIFEST_H
#define OBLIVIATE_MANIFEST_H

#include "common/sha256.h"
#include "worker/report.h"

enum { MANIFEST_FILES_MAX = 16, MANIFEST_PATH_BYTES = 64 };

struct manifest_file {
	char path[MANIFEST_PATH_BYTES];
	size_t bytes;
	char sha256[SHA256_HEX_BYTES];
};

/* Zero is the empty state; nothing is owned. */
struct manifest {
	int n;
	struct manifest_file file[MANIFEST_FILES_MAX];
};

/* Hash the file dirfd/name. */
int manifest_add(struct manifest *manifest, int dirfd, const char *name, struct err *err) MUST_USE;

/* Write manifest.json with the inputs of the report and the files so far, then add it to the list itself. */
int manifest_write(
	struct manifest *manifest, int dirfd, const struct report *report, struct err *err) MUST_USE;

#endif
