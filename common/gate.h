/*
 * gate: the verdict on a report. The worker writes it into report.json, the server answers GET gate with
 * it; this is the one place that knows the rule.
 *
 *   CHECK        JUDGES                 PASSES WHEN
 *   max_asr      evaluation.asr         value <= threshold
 *   max_masr     evaluation.masr        value <= threshold
 *   max_ca_drop  ca_drop                value <= threshold
 *   min_ca       evaluation.ca          value >= threshold
 *
 * A report of several seeds (its `seeds`) is judged by each check's worst seed, which the check names: a pass must not
 * hang on the seed.
 *
 * Rule "point": point values are compared, intervals are shown beside them. Rule "bound" (common/gate_bound.h): one-sided
 * confidence bounds are, and a value within the threshold alone is no pass. docs/verdict.md says which to use.
 *
 * The verdict is "undecided" when the job has not succeeded or when there is no check: a job that failed or was cancelled
 * never passes. Else it is "pass" when every check passed. Where a check neither passed nor failed, "point" is undecided,
 * and so is "bound" unless another check failed. Else it is "fail".
 */
#ifndef OBLIVIATE_COMMON_GATE_H
#define OBLIVIATE_COMMON_GATE_H

#include <jansson.h>

#include "common/base.h"

enum { GATE_CHECK_COUNT = 4 };

struct gate_check {
	const char *name;   /* the parameter's: a key of the job's `gate`, a query parameter of GET gate */
	const char *key[2]; /* where its {value, interval} lies in the report; key[1] may be NULL */
	bool is_minimum;
};

extern const struct gate_check gate_checks[GATE_CHECK_COUNT];

/* The check with this name, or NULL. */
const struct gate_check *gate_check_find(const char *name);

/* Whether there is a rule of this name. */
bool gate_has_rule(const char *name);

/*
 * {verdict, rule, checks: [{name, value, interval, threshold, passed}]}, with `seed` in a check where there are
 * several, for the report's members `status`, `evaluation`, `ca_drop` and `seeds`, any of which may be null or absent.
 * Rule "bound" adds `bound` ([low, high] or null) and `needed_rows` to its checks, `worst` where they are of triggers, and
 * `confidence` and `tested` to the whole. `thresholds` is an object from check names to numbers, with `rule` ("point" when
 * absent), or null; absent and null members are no checks. New reference; NULL when out of memory.
 */
json_t *gate_judge(const json_t *report, const json_t *thresholds);

#endif
