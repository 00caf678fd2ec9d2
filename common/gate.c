#include "common/gate.h"

#include <string.h>

#include "common/gate_bound.h"

const struct gate_check gate_checks[GATE_CHECK_COUNT] = {
	{"max_asr", {"evaluation", "asr"}, false},
	{"max_masr", {"evaluation", "masr"}, false},
	{"max_ca_drop", {"ca_drop", NULL}, false},
	{"min_ca", {"evaluation", "ca"}, true},
};

const struct gate_check *gate_check_find(const char *name)
{
	for (size_t i = 0; i < NELEM(gate_checks); i++)
		if (strcmp(gate_checks[i].name, name) == 0)
			return &gate_checks[i];
	return NULL;
}

/* The {value, interval} that a check judges; NULL when the report does not have it. */
static json_t *measured(const struct gate_check *check, const json_t *report)
{
	json_t *found = json_object_get(report, check->key[0]);

	return check->key[1] != NULL ? json_object_get(found, check->key[1]) : found;
}

static bool is_worse(const struct gate_check *check, const json_t *a, const json_t *b)
{
	double x = json_number_value(a), y = json_number_value(b);

	return check->is_minimum ? x < y : x > y;
}

/* The seed that a check goes by: the first without a value, else the worst; the report itself where it has none. */
static const json_t *worst_seed(const struct gate_check *check, const json_t *report)
{
	const json_t *worst = NULL, *worst_value = NULL, *seed;
	size_t i;

	json_array_foreach(json_object_get(report, "seeds"), i, seed)
	{
		const json_t *value = json_object_get(measured(check, seed), "value");

		if (!json_is_number(value))
			return seed;
		if (worst == NULL || is_worse(check, value, worst_value)) {
			worst = seed;
			worst_value = value;
		}
	}
	return worst != NULL ? worst : report;
}

/* true, false, or null when there is no value to compare. */
static json_t *compare(const struct gate_check *check, const json_t *value, const json_t *threshold)
{
	double v, t;

	if (!json_is_number(value))
		return json_null();
	v = json_number_value(value);
	t = json_number_value(threshold);
	return json_boolean(check->is_minimum ? v >= t : v <= t);
}

static json_t *judge_one(const struct gate_check *check, const json_t *report, json_t *threshold)
{
	const json_t *judged = worst_seed(check, report);
	json_t *measure = measured(check, judged);
	json_t *value = json_object_get(measure, "value");
	json_t *out = json_pack("{s:s, s:O?, s:O?, s:O, s:o}", "name", check->name, "value", value,
		"interval", json_object_get(measure, "interval"), "threshold", threshold, "passed",
		compare(check, value, threshold));

	if (out != NULL && judged != report)
		json_object_set(out, "seed", json_object_get(judged, "seed"));
	return out;
}

/* A check that failed is decisive under rule "bound", which proves it; "point" wants all values first. */
static const char *verdict(const json_t *report, const json_t *checks, bool is_proof)
{
	const char *status = json_string_value(json_object_get(report, "status"));
	bool all_passed = true, all_known = true;
	const json_t *check;
	size_t i;

	if (status == NULL || strcmp(status, "succeeded") != 0 || json_array_size(checks) == 0)
		return "undecided";
	json_array_foreach(checks, i, check)
	{
		const json_t *passed = json_object_get(check, "passed");

		all_known = all_known && !json_is_null(passed);
		all_passed = all_passed && !json_is_false(passed);
	}
	if (!all_known && (all_passed || !is_proof))
		return "undecided";
	return all_passed ? "pass" : "fail";
}

/* Rule "point". Gives `out` its checks. */
static int judge_points(json_t *out, const json_t *report, const json_t *thresholds)
{
	json_t *checks = json_array();

	for (size_t i = 0; i < NELEM(gate_checks); i++) {
		json_t *threshold = json_object_get(thresholds, gate_checks[i].name);

		if (!json_is_number(threshold))
			continue;
		if (json_array_append_new(checks, judge_one(&gate_checks[i], report, threshold)) != 0) {
			json_decref(checks);
			return -1;
		}
	}
	return json_object_set_new(out, "checks", checks);
}

static const struct gate_rule {
	const char *name;
	int (*judge)(json_t *out, const json_t *report, const json_t *thresholds);
	bool is_proof;
} rules[] = {
	{"point", judge_points, false},
	{"bound", gate_bound_judge, true},
};

static const struct gate_rule *find_rule(const char *name)
{
	for (size_t i = 0; i < NELEM(rules); i++)
		if (name != NULL && strcmp(rules[i].name, name) == 0)
			return &rules[i];
	return NULL;
}

bool gate_has_rule(const char *name)
{
	return find_rule(name) != NULL;
}

json_t *gate_judge(const json_t *report, const json_t *thresholds)
{
	const struct gate_rule *rule = find_rule(json_string_value(json_object_get(thresholds, "rule")));
	json_t *out;

	if (rule == NULL)
		rule = &rules[0];
	out = json_pack("{s:n, s:s}", "verdict", "rule", rule->name);
	if (out != NULL && rule->judge(out, report, thresholds) == 0 &&
		json_object_set_new(out, "verdict",
			json_string(verdict(report, json_object_get(out, "checks"), rule->is_proof))) == 0)
		return out;
	json_decref(out);
	return NULL;
}
