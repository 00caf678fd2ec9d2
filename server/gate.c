#include "server/gate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The checks in the order in which they are reported. */
static const struct {
	const char *name;
	size_t offset;
	const char *group; /* member of the report that holds the number, or NULL */
	const char *number;
	bool is_minimum;
} checks[] = {
	{"max_asr", offsetof(struct gate, max_asr), "evaluation", "asr", false},
	{"max_masr", offsetof(struct gate, max_masr), "evaluation", "masr", false},
	{"max_ca_drop", offsetof(struct gate, max_ca_drop), NULL, "ca_drop", false},
	{"min_ca", offsetof(struct gate, min_ca), "evaluation", "ca", true},
};

static double *threshold(struct gate *gate, size_t check)
{
	return (void *)((char *)gate + checks[check].offset);
}

void gate_init(struct gate *gate)
{
	for (size_t i = 0; i < NELEM(checks); i++)
		*threshold(gate, i) = NAN;
}

void gate_from_spec(struct gate *gate, const struct spec *spec)
{
	gate_init(gate);
	if (!spec->gate.present)
		return;
	gate->max_asr = spec->gate.max_asr;
	gate->max_masr = spec->gate.max_masr;
	gate->max_ca_drop = spec->gate.max_ca_drop;
	gate->min_ca = spec->gate.min_ca;
}

bool gate_is_empty(const struct gate *gate)
{
	struct gate copy = *gate;

	for (size_t i = 0; i < NELEM(checks); i++)
		if (!isnan(*threshold(&copy, i)))
			return false;
	return true;
}

static int set_rule(const char *value, struct err *err)
{
	if (strcmp(value, "point") == 0)
		return 0;
	if (strcmp(value, "bound") == 0)
		return err_set(err, ERR_UNSUPPORTED, "rule", "\"bound\" is not supported yet");
	return err_set(err, ERR_INVALID_VALUE, "rule", "must be one of \"point\", \"bound\"");
}

int gate_set(struct gate *gate, const char *name, const char *value, struct err *err)
{
	char *end;
	double number;

	if (strcmp(name, "rule") == 0)
		return set_rule(value, err);
	for (size_t i = 0; i < NELEM(checks); i++) {
		if (strcmp(checks[i].name, name) != 0)
			continue;
		number = strtod(value, &end);
		if (end == value || *end != '\0' || !(number >= 0 && number <= 1))
			return err_set(err, ERR_INVALID_VALUE, name, "must be a number from 0 to 1");
		*threshold(gate, i) = number;
		return 0;
	}
	return err_set(err, ERR_UNKNOWN_FIELD, name, "there is no such threshold");
}

/* The measured number of a check: {value, interval, ...}, or NULL. */
static const json_t *find_number(const json_t *report, size_t check)
{
	const json_t *group = report;

	if (checks[check].group != NULL)
		group = json_object_get(report, checks[check].group);
	return json_object_get(group, checks[check].number);
}

static json_t *or_null(json_t *borrowed)
{
	return borrowed != NULL ? json_incref(borrowed) : json_null();
}

static json_t *check_json(size_t check, double limit, const json_t *number, json_t *passed)
{
	return json_pack("{s:s, s:o, s:o, s:f, s:o}", "name", checks[check].name, "value",
		or_null(json_object_get(number, "value")), "interval",
		or_null(json_object_get(number, "interval")), "threshold", limit, "passed", passed);
}

static json_t *compare(size_t check, double limit, const json_t *value)
{
	double number = json_number_value(value);

	if (!json_is_number(value))
		return json_null();
	return json_boolean(checks[check].is_minimum ? number >= limit : number <= limit);
}

json_t *gate_verdict(const struct gate *gate, const json_t *report)
{
	struct gate copy = *gate;
	json_t *list = json_array();
	bool is_failed = false, is_open = gate_is_empty(gate);

	for (size_t i = 0; i < NELEM(checks); i++) {
		double limit = *threshold(&copy, i);
		const json_t *number = find_number(report, i);
		json_t *passed;

		if (isnan(limit))
			continue;
		passed = compare(i, limit, json_object_get(number, "value"));
		is_failed = is_failed || json_is_false(passed);
		is_open = is_open || json_is_null(passed);
		json_array_append_new(list, check_json(i, limit, number, passed));
	}
	return json_pack("{s:s, s:s, s:o}", "verdict",
		is_failed ? "fail"
		: is_open ? "undecided"
			  : "pass",
		"rule", "point", "checks", list);
}
