/*
 * zip: the one file that sees libzip. Writes archives whose bytes depend on names and contents alone: entries
 * stored, in the order given, dated 1980-01-01, mode 0644.
 */
#ifndef OBLIVIATE_ZIP_H
#define OBLIVIATE_ZIP_H

#include "common/err.h"

struct zip_entry {
	const char *name; /* in the archive */
	const char *path; /* of its bytes, below the source directory */
};

/* Write outfd/name from files below sourcefd, replacing it at once when whole (fsync, rename). */
int zip_write(int outfd, const char *name, int sourcefd, const struct zip_entry *entries, size_t n,
	struct err *err) MUST_USE;

#endif
