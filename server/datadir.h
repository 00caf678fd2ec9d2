/*
 * datadir: the data directory, as descriptors. All other modules name files relative to them.
 *
 *   obliviate.db (-wal, -shm)   the store
 *   obliviate.lock              flock of the daemon that owns the directory
 *   files/<file id>             bytes of an uploaded or resulting file
 *   models/<model id>/...       a base model, read-only to workers (descriptor 3)
 *   jobs/<job id>/...           a job: data/ (descriptor 4), out/ (descriptor 5), log
 *   staging/                    uploads that are not whole yet; emptied at start
 */
#ifndef OBLIVIATE_DATADIR_H
#define OBLIVIATE_DATADIR_H

#include "common/err.h"

struct datadir {
	int root;
	int files;
	int models;
	int staging;
	int jobs;
	int lock; /* -1 when opened without */
};

/* Open, making what is missing (mode 0700). With `is_owner`, take the lock and empty staging/;
 * ERR_UNAVAILABLE when another daemon has it. */
int datadir_open(struct datadir *dir, const char *path, bool is_owner, struct err *err) MUST_USE;
void datadir_close(struct datadir *dir);

/* rm -rf dirfd/name; what is missing is no error. */
int datadir_remove(int dirfd, const char *name, struct err *err);
/* fsync every file and directory below dirfd/name, and dirfd itself. */
int datadir_sync(int dirfd, const char *name, struct err *err) MUST_USE;
/* Call each with every name in the directory (but . and ..). */
int datadir_each(
	int dirfd, int (*each)(void *arg, const char *name, struct err *err), void *arg, struct err *err);

#endif
