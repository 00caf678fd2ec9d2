#include "server/staging.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "common/log.h"
#include "server/id.h"

enum { CREATE = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW };

static void init(struct staging *out, const struct datadir *dir, uint64_t max_bytes)
{
	*out = (struct staging){.dir = dir, .fd = -1, .root = -1, .max_bytes = max_bytes};
	id_new(out->name, sizeof(out->name), "staged-");
}

int staging_file(struct staging *out, const struct datadir *dir, uint64_t max_bytes, struct err *err)
{
	init(out, dir, max_bytes);
	out->fd = openat(dir->staging, out->name, CREATE, 0600);
	return out->fd < 0 ? err_errno(err, errno, NULL, "create") : 0;
}

int staging_tree(struct staging *out, const struct datadir *dir, uint64_t max_bytes, struct err *err)
{
	init(out, dir, max_bytes);
	if (mkdirat(dir->staging, out->name, 0700) != 0)
		return err_errno(err, errno, NULL, "mkdir");
	out->root = openat(dir->staging, out->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return out->root < 0 ? err_errno(err, errno, NULL, "open") : 0;
}

/* What the path itself is to blame for is the client's fault. */
static int path_fault(struct err *err, int saved_errno, const char *path)
{
	if (saved_errno == EEXIST)
		return err_set(err, ERR_INVALID_VALUE, path, "this path is there twice");
	if (saved_errno == ENOTDIR || saved_errno == EISDIR)
		return err_set(err, ERR_INVALID_VALUE, path, "this path is a file and a directory");
	if (saved_errno == ENAMETOOLONG)
		return err_set(err, ERR_INVALID_VALUE, path, "a part of this path is too long");
	return err_errno(err, saved_errno, path, "create");
}

static int make_parents(struct staging *staging, const char *path, struct err *err)
{
	int rc = io_make_parents(staging->root, path, err);

	return rc != 0 && (errno == ENOTDIR || errno == ENAMETOOLONG) ? path_fault(err, errno, path) : rc;
}

int staging_add(struct staging *staging, const char *path, struct err *err)
{
	int rc = make_parents(staging, path, err);

	if (rc != 0)
		return rc;
	staging_end(staging);
	staging->fd = openat(staging->root, path, CREATE, 0600);
	return staging->fd < 0 ? path_fault(err, errno, path) : 0;
}

int staging_grow(struct staging *staging, uint64_t bytes, struct err *err)
{
	if (bytes > staging->max_bytes - staging->bytes)
		return err_set(err, ERR_TOO_LARGE, NULL, "more than %llu bytes (--max-upload-bytes)",
			(unsigned long long)staging->max_bytes);
	staging->bytes += bytes;
	return 0;
}

int staging_link(
	struct staging *staging, const char *path, const char *file_id, uint64_t bytes, struct err *err)
{
	int rc = staging_grow(staging, bytes, err);

	if (rc == 0)
		rc = make_parents(staging, path, err);
	if (rc == 0 && linkat(staging->dir->files, file_id, staging->root, path, 0) != 0)
		rc = path_fault(err, errno, path);
	return rc;
}

void staging_end(struct staging *staging)
{
	if (staging->fd >= 0)
		close(staging->fd);
	staging->fd = -1;
}

int staging_sync(struct staging *staging, struct err *err)
{
	return datadir_sync(staging->dir->staging, staging->name, err);
}

int staging_move(struct staging *staging, int dirfd, const char *name, struct err *err)
{
	staging_end(staging);
	if (renameat(staging->dir->staging, staging->name, dirfd, name) == 0) {
		staging->name[0] = '\0';
		return 0;
	}
	if (errno == ENOTEMPTY || errno == EEXIST)
		return err_set(err, ERR_IN_USE, name, "is there already");
	return err_errno(err, errno, name, "rename");
}

int staging_take(struct staging *out, const struct datadir *dir, int dirfd, const char *name, struct err *err)
{
	init(out, dir, 0);
	if (renameat(dirfd, name, dir->staging, out->name) == 0 || errno == ENOENT)
		return 0;
	return err_errno(err, errno, name, "rename");
}

void staging_done(struct staging *staging)
{
	struct err err;

	if (staging->dir == NULL)
		return;
	staging_end(staging);
	if (staging->root >= 0)
		close(staging->root);
	if (staging->name[0] != '\0' && datadir_remove(staging->dir->staging, staging->name, &err) != 0)
		log_err(LOG_WARN, "staging", &err);
	*staging = (struct staging){0};
}
