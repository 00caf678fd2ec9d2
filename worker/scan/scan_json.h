/* scan_json: the result of a scan as the report has it (docs/scan.md). */
#ifndef OBLIVIATE_SCAN_JSON_H
#define OBLIVIATE_SCAN_JSON_H

#include <jansson.h>

#include "worker/scan/scan.h"

/* {candidates, texts, suspects, clusters, left_out, closest, verdict, not_searched, seconds, histogram}. New reference. */
int scan_json(json_t **out, const struct scan_result *result, struct err *err) MUST_USE;

#endif
