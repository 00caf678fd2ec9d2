#include "server/zip.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <zip.h>

#include "common/io.h"

enum { DOS_TIME = 0, DOS_DATE = 1 << 5 | 1 }; /* 1980-01-01 00:00 */

static int zip_fault(struct err *err, zip_t *zip, const char *where)
{
	return err_set(err, ERR_IO, where, "zip: %s", zip_strerror(zip));
}

/* An open descriptor as a path that libzip can open. */
static void fd_path(char out[64], int fd)
{
	snprintf(out, 64, "/proc/self/fd/%d", fd);
}

/* The descriptor stays open until the archive is closed. */
static int add_entry(zip_t *zip, const struct zip_entry *entry, int fd, struct err *err)
{
	char path[64];
	zip_source_t *source;
	zip_int64_t index;

	fd_path(path, fd);
	source = zip_source_file(zip, path, 0, -1);
	if (source == NULL)
		return zip_fault(err, zip, entry->name);
	index = zip_file_add(zip, entry->name, source, ZIP_FL_ENC_UTF_8);
	if (index < 0) {
		zip_source_free(source);
		return zip_fault(err, zip, entry->name);
	}
	if (zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) != 0 ||
		zip_file_set_dostime(zip, (zip_uint64_t)index, DOS_TIME, DOS_DATE, 0) != 0 ||
		zip_file_set_external_attributes(
			zip, (zip_uint64_t)index, 0, ZIP_OPSYS_UNIX, 0100644u << 16) != 0)
		return zip_fault(err, zip, entry->name);
	return 0;
}

/* Add entries from `i` on; the recursion keeps each descriptor open until zip_close has read it. */
static int add_and_close(zip_t *zip, int sourcefd, const struct zip_entry *entries, size_t n, struct err *err)
{
	size_t bytes;
	int fd, rc;

	if (n == 0)
		return zip_close(zip) == 0 ? 0 : zip_fault(err, zip, "");
	rc = io_open_file(&fd, &bytes, sourcefd, entries->path, err);
	if (rc != 0)
		return rc;
	rc = add_entry(zip, entries, fd, err);
	if (rc == 0)
		rc = add_and_close(zip, sourcefd, entries + 1, n - 1, err);
	close(fd);
	return rc;
}

static int write_archive(
	const char *path, int sourcefd, const struct zip_entry *entries, size_t n, struct err *err)
{
	int fault = 0, rc;
	zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &fault);

	if (zip == NULL)
		return err_set(err, ERR_IO, "", "zip: cannot create the archive (%d)", fault);
	rc = add_and_close(zip, sourcefd, entries, n, err);
	if (rc != 0)
		zip_discard(zip);
	return rc;
}

static int settle(int outfd, const char *partial, const char *name, struct err *err)
{
	int fd = openat(outfd, partial, O_RDONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return err_errno(err, errno, partial, "open");
	if (fsync(fd) != 0 || renameat(outfd, partial, outfd, name) != 0 || fsync(outfd) != 0)
		rc = err_errno(err, errno, name, "write");
	close(fd);
	return rc;
}

int zip_write(
	int outfd, const char *name, int sourcefd, const struct zip_entry *entries, size_t n, struct err *err)
{
	char partial[300], path[400];
	int rc;

	snprintf(partial, sizeof(partial), "%.250s.partial", name);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", outfd, partial);
	rc = write_archive(path, sourcefd, entries, n, err);
	if (rc == 0)
		rc = settle(outfd, partial, name, err);
	if (rc != 0)
		unlinkat(outfd, partial, 0);
	return rc;
}
