/* fuzz: gives a fuzz target's bytes a name in a directory of its own, since readers take files. */
#ifndef OBLIVIATE_TESTS_FUZZ_H
#define OBLIVIATE_TESTS_FUZZ_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char fuzz_path[64];
static const char *fuzz_name;

static inline void fuzz_clean(void)
{
	char file[128];

	snprintf(file, sizeof(file), "%s/%s", fuzz_path, fuzz_name);
	unlink(file);
	rmdir(fuzz_path);
}

/* The directory, made at the first call and removed at exit; in memory where there is /dev/shm. */
static inline int fuzz_dir(void)
{
	static int fd = -1;

	if (fd >= 0)
		return fd;
	snprintf(fuzz_path, sizeof(fuzz_path), "%s/obliviate-fuzz-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(fuzz_path) == NULL)
		abort();
	fd = open(fuzz_path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		abort();
	atexit(fuzz_clean);
	return fd;
}

/* Write the bytes as the one file of the directory (a target uses one name at a time). */
static inline int fuzz_file(const char *name, const uint8_t *data, size_t size)
{
	int dirfd = fuzz_dir(), fd;

	if (fuzz_name != NULL && fuzz_name != name)
		unlinkat(dirfd, fuzz_name, 0);
	fuzz_name = name;
	fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || (size > 0 && write(fd, data, size) != (ssize_t)size))
		abort();
	close(fd);
	return dirfd;
}

#endif
