#include "server/datadir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW };

static int open_sub(int *out, int root, const char *name, struct err *err)
{
	if (mkdirat(root, name, 0700) != 0 && errno != EEXIST)
		return err_errno(err, errno, name, "mkdir");
	*out = openat(root, name, DIR_FLAGS);
	return *out < 0 ? err_errno(err, errno, name, "open") : 0;
}

static int take_lock(struct datadir *dir, const char *path, struct err *err)
{
	dir->lock = openat(dir->root, "obliviate.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (dir->lock < 0)
		return err_errno(err, errno, "obliviate.lock", "open");
	if (flock(dir->lock, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_set(err, ERR_UNAVAILABLE, path, "another daemon uses this data directory");
	return err_errno(err, errno, "obliviate.lock", "flock");
}

static int remove_one(void *arg, const char *name, struct err *err)
{
	return datadir_remove(*(int *)arg, name, err);
}

static int open_parts(struct datadir *dir, const char *path, bool is_owner, struct err *err)
{
	int rc;

	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_errno(err, errno, path, "mkdir");
	dir->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir->root < 0)
		return err_errno(err, errno, path, "open");
	rc = is_owner ? take_lock(dir, path, err) : 0;
	if (rc == 0)
		rc = open_sub(&dir->files, dir->root, "files", err);
	if (rc == 0)
		rc = open_sub(&dir->models, dir->root, "models", err);
	if (rc == 0)
		rc = open_sub(&dir->staging, dir->root, "staging", err);
	if (rc == 0)
		rc = open_sub(&dir->jobs, dir->root, "jobs", err);
	if (rc == 0 && is_owner)
		rc = datadir_each(dir->staging, remove_one, &dir->staging, err);
	if (rc == 0 && fsync(dir->root) != 0)
		rc = err_errno(err, errno, path, "fsync");
	return rc;
}

int datadir_open(struct datadir *dir, const char *path, bool is_owner, struct err *err)
{
	int rc;

	*dir = (struct datadir){-1, -1, -1, -1, -1, -1};
	rc = open_parts(dir, path, is_owner, err);
	if (rc != 0)
		datadir_close(dir);
	return rc;
}

void datadir_close(struct datadir *dir)
{
	int *const fds[] = {&dir->jobs, &dir->staging, &dir->models, &dir->files, &dir->lock, &dir->root};

	for (size_t i = 0; i < NELEM(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

int datadir_each(
	int dirfd, int (*each)(void *arg, const char *name, struct err *err), void *arg, struct err *err)
{
	int fd = openat(dirfd, ".", DIR_FLAGS), rc = 0;
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (stream == NULL) {
		rc = err_errno(err, errno, ".", "open directory");
		if (fd >= 0)
			close(fd);
		return rc;
	}
	while (rc == 0 && (entry = readdir(stream)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = each(arg, entry->d_name, err);
	}
	closedir(stream);
	return rc;
}

int datadir_remove(int dirfd, const char *name, struct err *err)
{
	int fd, rc;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return err_errno(err, errno, name, "unlink");
	fd = openat(dirfd, name, DIR_FLAGS);
	if (fd < 0)
		return err_errno(err, errno, name, "open");
	rc = datadir_each(fd, remove_one, &fd, err);
	close(fd);
	if (rc == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
		rc = err_errno(err, errno, name, "rmdir");
	return rc;
}

static int sync_one(void *arg, const char *name, struct err *err)
{
	int dirfd = *(int *)arg, rc = 0;
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0)
		return err_errno(err, errno, name, "open");
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		rc = datadir_each(fd, sync_one, &fd, err);
	if (rc == 0 && fsync(fd) != 0)
		rc = err_errno(err, errno, name, "fsync");
	close(fd);
	return rc;
}

int datadir_sync(int dirfd, const char *name, struct err *err)
{
	int rc = sync_one(&dirfd, name, err);

	if (rc == 0 && fsync(dirfd) != 0)
		rc = err_errno(err, errno, name, "fsync of the directory");
	return rc;
}
