/* flips_json: the search for flips in one model, as the report has it (docs/scan.md). */
#ifndef OBLIVIATE_FLIPS_JSON_H
#define OBLIVIATE_FLIPS_JSON_H

#include <jansson.h>

#include "worker/data/dataset.h"
#include "worker/scan/flips.h"

/* {candidates, rows, usual_rate, flips, left_out, not_searched, seconds}. New reference. */
int flips_json(json_t **out, const struct flips_result *result, const struct labels *labels,
	struct err *err) MUST_USE;

#endif
