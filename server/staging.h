/*
 * staging: a file or a directory that is on its way into the data directory. It lives in staging/ under a random name
 * until it is whole and on disk, and then moves in one rename; whatever is not moved is removed by staging_done, or by
 * the next start.
 *
 * staging_sync blocks (fsync): it is for request_work. The rest is quick.
 */
#ifndef OBLIVIATE_STAGING_H
#define OBLIVIATE_STAGING_H

#include "server/datadir.h"

struct staging {
	const struct datadir *dir;
	char name[64];	/* in staging/; "" when empty or moved */
	int fd;		/* of the file being written; -1: none */
	int root;	/* of a directory's own; -1: a single file */
	uint64_t bytes; /* written in all */
	uint64_t max_bytes;
};

/* A single file; `fd` is ready to be written. */
int staging_file(
	struct staging *out, const struct datadir *dir, uint64_t max_bytes, struct err *err) MUST_USE;
/* A directory; its files are begun with staging_add or linked with staging_link. */
int staging_tree(
	struct staging *out, const struct datadir *dir, uint64_t max_bytes, struct err *err) MUST_USE;
/* `path` is safe (path_is_safe). ERR_INVALID_VALUE, naming it, when it is there or lies below a file. */
int staging_add(struct staging *staging, const char *path, struct err *err) MUST_USE;
/* Hard-link files/<file_id> as `path`. */
int staging_link(struct staging *staging, const char *path, const char *file_id, uint64_t bytes,
	struct err *err) MUST_USE;
/* So many bytes more are about to be written: ERR_TOO_LARGE beyond max_bytes. */
int staging_grow(struct staging *staging, uint64_t bytes, struct err *err) MUST_USE;
/* Close the file begun last. */
void staging_end(struct staging *staging);

/* fsync everything. */
int staging_sync(struct staging *staging, struct err *err) MUST_USE;
/* Rename to dirfd/name. ERR_IN_USE when a directory is there already. The caller syncs dirfd. */
int staging_move(struct staging *staging, int dirfd, const char *name, struct err *err) MUST_USE;
/* Move dirfd/name into staging/, to be removed by staging_done; what is missing is no error. */
int staging_take(struct staging *out, const struct datadir *dir, int dirfd, const char *name,
	struct err *err) MUST_USE;
/* Remove what is left. Accepts a zeroed struct. */
void staging_done(struct staging *staging);

#endif
