/*
 * io: files through directory descriptors, whole reads and writes, atomic replacement, read-only maps.
 *
 * Every function retries EINTR. Names given as `name` must be relative; the callers decide which names
 * are safe (path_is_safe).
 */
#ifndef OBLIVIATE_IO_H
#define OBLIVIATE_IO_H

#include <sys/uio.h>

#include "common/buf.h"
#include "common/err.h"

/* Write all of data to fd. */
int io_write_all(int fd, const void *data, size_t len, struct err *err) MUST_USE;

/* Append the rest of fd to buf; ERR_TOO_LARGE beyond max_bytes. `where` names it in errors. */
int io_read_all(struct buf *buf, int fd, size_t max_bytes, const char *where, struct err *err) MUST_USE;

/* Append the file dirfd/name to buf. ERR_NOT_FOUND when it is not there or no regular file. */
int io_read_file(struct buf *buf, int dirfd, const char *name, size_t max_bytes, struct err *err) MUST_USE;

/* Write dirfd/name through a temporary file: fsync, rename, fsync of the directory. */
int io_write_file(int dirfd, const char *name, const void *data, size_t len, struct err *err) MUST_USE;

/* The same for a file in n parts, one after the other. */
int io_write_parts(int dirfd, const char *name, const struct iovec *part, int n, struct err *err) MUST_USE;

/* Open dirfd/name read-only, refusing links and anything but a regular file; *bytes is its size. */
int io_open_file(int *out_fd, size_t *bytes, int dirfd, const char *name, struct err *err) MUST_USE;

struct io_map {
	const uint8_t *data; /* NULL when empty */
	size_t len;
};

/* Map dirfd/name read-only. An empty file gives len 0. */
int io_map_open(struct io_map *map, int dirfd, const char *name, struct err *err) MUST_USE;
void io_map_done(struct io_map *map);
/* Give the map's resident pages back; what is read again comes from the page cache. */
void io_map_rest(const struct io_map *map);

/* A relative path without empty, "." or ".." parts, backslashes or control bytes; at most 512 bytes. */
bool path_is_safe(const char *path);

/* Open the directory dirfd/name, made where it is not there; a link is refused. */
int io_make_directory(int *out_fd, int dirfd, const char *name, struct err *err) MUST_USE;

/* mkdir -p below dirfd for the directories of `path` (all parts but the last). */
int io_make_parents(int dirfd, const char *path, struct err *err) MUST_USE;

#endif
