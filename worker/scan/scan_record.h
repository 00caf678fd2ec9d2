/*
 * scan_record: a finished scan as the file `scan` of a job's output directory, for a job that goes on after a stop.
 *
 * A record (record.h): {spec, scan: as in the report, parts: numbers of suspects that stand in no text, shortlist: texts}. One
 * that does not hold what a scan's does is left aside with a warning in the log: the job scans again.
 */
#ifndef OBLIVIATE_SCAN_RECORD_H
#define OBLIVIATE_SCAN_RECORD_H

#include "worker/scan/scan.h"

int scan_record_write(
	const struct scan_result *result, const char *spec_sha256, int dirfd, struct err *err) MUST_USE;

/* *found says whether there was a record of this spec; else *out is empty. Fails where the file cannot be read at all. */
int scan_record_read(
	struct scan_result *out, bool *found, const char *spec_sha256, int dirfd, struct err *err) MUST_USE;

#endif
