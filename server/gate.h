/*
 * gate: the verdict over a report: a list of thresholds, each compared with one number (rule "point").
 *
 *   fail       some check is above (below) its threshold
 *   undecided  no check is, but a number is not known, or there is no check
 *   pass       every number is known and within its threshold
 *
 * The report of an unfinished, failed or cancelled job has no numbers, so its verdict is never "pass".
 */
#ifndef OBLIVIATE_GATE_H
#define OBLIVIATE_GATE_H

#include <jansson.h>

#include "common/err.h"
#include "common/spec.h"

/* Thresholds; NAN: not asked for. */
struct gate {
	double max_asr, max_masr, max_ca_drop, min_ca;
};

/* No threshold at all. */
void gate_init(struct gate *gate);
/* The job's own; none when it has no gate. */
void gate_from_spec(struct gate *gate, const struct spec *spec);
bool gate_is_empty(const struct gate *gate);
/* Set the threshold with this name ("max_asr") from text. ERR_UNKNOWN_FIELD, ERR_INVALID_VALUE, ERR_UNSUPPORTED. */
int gate_set(struct gate *gate, const char *name, const char *value, struct err *err) MUST_USE;

/* {verdict, rule, checks: [{name, value, interval, threshold, passed}]}. NULL when out of memory. New reference. */
json_t *gate_verdict(const struct gate *gate, const json_t *report);

#endif
