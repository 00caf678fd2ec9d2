/* rate_json: a rate as reports have it: {value, count, total, interval}; value and interval are null where total is 0. */
#ifndef OBLIVIATE_RATE_JSON_H
#define OBLIVIATE_RATE_JSON_H

#include <jansson.h>

#include "worker/eval/metrics.h"

/* New reference; NULL when out of memory. */
json_t *rate_json(const struct rate *rate);

#endif
