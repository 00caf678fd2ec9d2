/* scratch: a directory of its own for a test, emptied and removed afterwards (files only, no directories). */
#ifndef OBLIVIATE_TESTS_SCRATCH_H
#define OBLIVIATE_TESTS_SCRATCH_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct scratch {
	char path[64];
	int fd;
};

static inline void scratch_init(struct scratch *scratch)
{
	snprintf(scratch->path, sizeof(scratch->path), "/tmp/obliviate-test-XXXXXX");
	scratch->fd = mkdtemp(scratch->path) == NULL ? -1 : open(scratch->path, O_RDONLY | O_DIRECTORY);
	if (scratch->fd < 0)
		abort();
}

static inline void scratch_done(struct scratch *scratch)
{
	DIR *dir = fdopendir(scratch->fd);
	const struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	rmdir(scratch->path);
}

static inline void scratch_write(
	const struct scratch *scratch, const char *name, const void *data, size_t len)
{
	int fd = openat(scratch->fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		abort();
	close(fd);
}

static inline void scratch_write_text(const struct scratch *scratch, const char *name, const char *text)
{
	scratch_write(scratch, name, text, strlen(text));
}

#endif
