#include "worker/scan/flips_record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "worker/scan/candidates.h"
#include "worker/scan/flips_json.h"
#include "worker/scan/record.h"

#define FILE_NAME "flips"

int flips_record_write(const struct flips_result *result, const struct labels *labels,
	const char *spec_sha256, int dirfd, struct err *err)
{
	json_t *flips = NULL;
	int rc = flips_json(&flips, result, labels, err);

	if (rc != 0)
		return rc;
	return record_write(FILE_NAME, json_pack("{s:o}", "flips", flips), spec_sha256, dirfd, err);
}

/* --- reading: what does not fit is "not found", by returning false ------------------------------------ */

static const char *find_kind(const char *name)
{
	const char *kind = candidate_kind_find(name);

	return kind == NULL && strcmp(name, FLIPS_KIND_FIRST) == 0 ? FLIPS_KIND_FIRST : kind;
}

static int find_label(const struct labels *labels, const char *name)
{
	for (int i = 0; i < labels->n; i++)
		if (strcmp(labels->name[i], name) == 0)
			return i;
	return -1;
}

static bool read_rate(struct rate *out, json_t *json)
{
	int count, total;

	if (json_unpack(json, "{s:i, s:i}", "count", &count, "total", &total) != 0 || count < 0 ||
		total < count)
		return false;
	*out = metrics_rate(count, total);
	return true;
}

static bool read_flip(struct flip *out, json_t *json, const struct labels *labels)
{
	const char *trigger, *kind, *label;
	json_t *rate, *neighbors;
	int is_found, is_suspect;

	if (json_unpack(json, "{s:s, s:s, s:s, s:o, s:F, s:F, s:F, s:o, s:b, s:b}", "trigger", &trigger,
		    "kind", &kind, "label", &label, "rate", &rate, "confidence", &out->confidence, "spread",
		    &out->spread, "p_value", &out->p_value, "neighbors", &neighbors, "found", &is_found,
		    "suspect", &is_suspect) != 0)
		return false;
	out->neighbors = json_is_null(neighbors) ? NAN : json_number_value(neighbors);
	out->is_found = is_found;
	out->is_suspect = is_suspect;
	out->kind = find_kind(kind);
	out->label = find_label(labels, label);
	out->trigger = strdup(trigger);
	return read_rate(&out->rate, rate) && (json_is_null(neighbors) || json_is_number(neighbors)) &&
	       out->kind != NULL && out->label >= 0 && out->trigger != NULL;
}

static bool read_list(struct flips_result *out, json_t *json, const struct labels *labels)
{
	if (!json_is_array(json) || json_array_size(json) > FLIPS_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(json); i++)
		if (!read_flip(&out->flip[out->flips++], json_array_get(json, i), labels))
			return false;
	return true;
}

static bool read_gaps(struct flips_result *out, json_t *json)
{
	if (!json_is_array(json) || json_array_size(json) > FLIPS_GAPS_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(json); i++) {
		const char *text = json_string_value(json_array_get(json, i));

		if (text == NULL)
			return false;
		snprintf(out->gap[out->gaps++], FLIPS_GAP_BYTES, "%s", text);
	}
	return true;
}

static bool read_flips(struct flips_result *out, json_t *json, const struct labels *labels)
{
	json_t *list, *gaps;

	return json_unpack(json, "{s:{s:i, s:i, s:F, s:o, s:i, s:o, s:F}}", "flips", "candidates",
		       &out->candidates, "rows", &out->rows, "usual_rate", &out->usual, "flips", &list,
		       "left_out", &out->left_out, "not_searched", &gaps, "seconds", &out->seconds) == 0 &&
	       read_list(out, list, labels) && read_gaps(out, gaps);
}

int flips_record_read(struct flips_result *out, bool *found, const struct labels *labels,
	const char *spec_sha256, int dirfd, struct err *err)
{
	json_t *json;
	int rc = record_read(&json, FILE_NAME, spec_sha256, dirfd, err);

	*out = (struct flips_result){0};
	*found = rc == 0 && json != NULL && read_flips(out, json, labels);
	if (json != NULL && !*found) {
		record_left_aside(FILE_NAME);
		flips_result_done(out);
	}
	json_decref(json);
	return rc;
}
