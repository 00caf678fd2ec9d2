#include "common/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 512 };

int io_write_all(int fd, const void *data, size_t len, struct err *err)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, MIN(len, (size_t)1 << 30));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, errno, NULL, "write");
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_read_all(struct buf *buf, int fd, size_t max_bytes, const char *where, struct err *err)
{
	size_t total = 0;

	for (;;) {
		char *end = buf_reserve(buf, 65536);
		ssize_t n;

		if (end == NULL)
			return err_nomem(err);
		n = read(fd, end, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, errno, where, "read");
		buf->len += (size_t)n;
		buf->data[buf->len] = '\0';
		if (n == 0)
			return 0;
		total += (size_t)n;
		if (total > max_bytes)
			return err_set(err, ERR_TOO_LARGE, where, "more than %zu bytes", max_bytes);
	}
}

int io_open_file(int *out_fd, size_t *bytes, int dirfd, const char *name, struct err *err)
{
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return err_set(err, ERR_NOT_FOUND, name, "no such file");
	if (fd < 0)
		return err_errno(err, errno, name, "open");
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return err_set(err, ERR_NOT_FOUND, name, "not a regular file");
	}
	*out_fd = fd;
	*bytes = (size_t)st.st_size;
	return 0;
}

int io_read_file(struct buf *buf, int dirfd, const char *name, size_t max_bytes, struct err *err)
{
	size_t bytes;
	int fd, rc;

	rc = io_open_file(&fd, &bytes, dirfd, name, err);
	if (rc != 0)
		return rc;
	if (bytes > max_bytes)
		rc = err_set(err, ERR_TOO_LARGE, name, "%zu bytes, more than %zu", bytes, max_bytes);
	else
		rc = io_read_all(buf, fd, max_bytes, name, err);
	close(fd);
	return rc;
}

int io_write_file(int dirfd, const char *name, const void *data, size_t len, struct err *err)
{
	struct iovec part = {(void *)(uintptr_t)data, len};

	return io_write_parts(dirfd, name, &part, 1, err);
}

int io_write_parts(int dirfd, const char *name, const struct iovec *part, int n, struct err *err)
{
	char tmp[PATH_BYTES_MAX + 8];
	int fd, rc = 0;

	snprintf(tmp, sizeof(tmp), "%s.tmp", name);
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return err_errno(err, errno, name, "create");
	for (int i = 0; i < n && rc == 0; i++)
		rc = io_write_all(fd, part[i].iov_base, part[i].iov_len, err);
	if (rc == 0 && fsync(fd) != 0)
		rc = err_errno(err, errno, name, "fsync");
	close(fd);
	if (rc == 0 && renameat(dirfd, tmp, dirfd, name) != 0)
		rc = err_errno(err, errno, name, "rename");
	if (rc == 0 && fsync(dirfd) != 0)
		rc = err_errno(err, errno, name, "fsync of the directory");
	if (rc != 0)
		unlinkat(dirfd, tmp, 0);
	return rc;
}

int io_map_open(struct io_map *map, int dirfd, const char *name, struct err *err)
{
	size_t bytes;
	void *data;
	int fd, rc;

	*map = (struct io_map){0};
	rc = io_open_file(&fd, &bytes, dirfd, name, err);
	if (rc != 0)
		return rc;
	if (bytes == 0) {
		close(fd);
		return 0;
	}
	data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (data == MAP_FAILED)
		return err_errno(err, errno, name, "mmap");
	map->data = data;
	map->len = bytes;
	return 0;
}

void io_map_done(struct io_map *map)
{
	if (map->data != NULL)
		munmap((void *)(uintptr_t)map->data, map->len);
	*map = (struct io_map){0};
}

void io_map_rest(const struct io_map *map)
{
	if (map->data != NULL)
		(void)madvise((void *)(uintptr_t)map->data, map->len, MADV_DONTNEED);
}

bool path_is_safe(const char *path)
{
	size_t part = 0, len = strlen(path);

	if (len == 0 || len > PATH_BYTES_MAX || path[0] == '/')
		return false;
	for (size_t i = 0; i <= len; i++) {
		unsigned char c = (unsigned char)path[i];

		if (c != '/' && c != '\0') {
			if (c < 0x20 || c == 0x7f || c == '\\')
				return false;
			part++;
			continue;
		}
		if (part == 0 || (part == 1 && path[i - 1] == '.'))
			return false;
		if (part == 2 && path[i - 1] == '.' && path[i - 2] == '.')
			return false;
		part = 0;
	}
	return true;
}

int io_make_directory(int *out_fd, int dirfd, const char *name, struct err *err)
{
	if (mkdirat(dirfd, name, 0755) != 0 && errno != EEXIST)
		return err_errno(err, errno, name, "mkdir");
	*out_fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *out_fd < 0 ? err_errno(err, errno, name, "open") : 0;
}

int io_make_parents(int dirfd, const char *path, struct err *err)
{
	char part[PATH_BYTES_MAX + 1];

	for (size_t i = 0; i < sizeof(part) && path[i] != '\0'; i++) {
		if (path[i] == '/') {
			part[i] = '\0';
			if (mkdirat(dirfd, part, 0755) != 0 && errno != EEXIST)
				return err_errno(err, errno, part, "mkdir");
		}
		part[i] = path[i];
	}
	return 0;
}
