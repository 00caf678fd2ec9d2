/*
 * flips_record: a finished search for flips in the undefended model as the file `flips` of a job's output directory, for a
 * job of mode informed, which trains with what it found and goes on after a stop with the same.
 *
 * A record (record.h): {spec, flips: as in the report}.
 */
#ifndef OBLIVIATE_FLIPS_RECORD_H
#define OBLIVIATE_FLIPS_RECORD_H

#include "worker/data/dataset.h"
#include "worker/scan/flips.h"

int flips_record_write(const struct flips_result *result, const struct labels *labels,
	const char *spec_sha256, int dirfd, struct err *err) MUST_USE;

/* *found says whether there was a whole one of this spec; else *out is empty. Fails where the file cannot be read at all. */
int flips_record_read(struct flips_result *out, bool *found, const struct labels *labels,
	const char *spec_sha256, int dirfd, struct err *err) MUST_USE;

#endif
