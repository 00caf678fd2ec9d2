#include "worker/scan/scan_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/scan/record.h"
#include "worker/scan/scan_json.h"

#define FILE_NAME "scan"

/* --- writing ----------------------------------------------------------------------------------------- */

static json_t *parts_json(const struct scan_result *result)
{
	json_t *out = json_array();

	for (int i = 0; i < result->suspects; i++)
		if (!result->suspect[i].is_text)
			json_array_append_new(out, json_integer(i));
	return out;
}

static json_t *shortlist_json(const struct scan_result *result)
{
	json_t *out = json_array();

	for (int i = 0; i < result->shortlisted; i++)
		json_array_append_new(out, json_string(result->shortlist[i]));
	return out;
}

int scan_record_write(const struct scan_result *result, const char *spec_sha256, int dirfd, struct err *err)
{
	json_t *scan = NULL;
	int rc = scan_json(&scan, result, err);

	if (rc != 0)
		return rc;
	return record_write(FILE_NAME,
		json_pack("{s:o, s:o, s:o}", "scan", scan, "parts", parts_json(result), "shortlist",
			shortlist_json(result)),
		spec_sha256, dirfd, err);
}

/* --- reading: what does not fit is "not found", by returning false ------------------------------------ */

static bool read_verdict(struct scan_result *out, const char *name)
{
	for (int verdict = SCAN_CLEAN; verdict <= SCAN_UNDECIDED; verdict++)
		if (strcmp(scan_verdict_name((enum scan_verdict)verdict), name) == 0) {
			out->verdict = (enum scan_verdict)verdict;
			return true;
		}
	return false;
}

static struct probe_score score_of(double displacement, double collapse, double spread)
{
	return (struct probe_score){(float)displacement, (float)collapse, (float)spread};
}

static bool read_suspect(struct scan_suspect *out, json_t *json)
{
	const char *trigger, *kind;
	double displacement, collapse, spread;

	if (json_unpack(json, "{s:s, s:s, s:i, s:F, s:F, s:F, s:F, s:i}", "trigger", &trigger, "kind", &kind,
		    "pieces", &out->pieces, "displacement", &displacement, "collapse", &collapse, "spread",
		    &spread, "p_value", &out->p_value, "cluster", &out->cluster) != 0)
		return false;
	out->is_text = true;
	out->score = score_of(displacement, collapse, spread);
	out->kind = candidate_kind_find(kind);
	out->trigger = strdup(trigger);
	return out->kind != NULL && out->trigger != NULL;
}

static bool read_suspects(struct scan_result *out, json_t *json)
{
	size_t n = json_array_size(json);

	if (!json_is_array(json) || n > SCAN_SUSPECTS_MAX)
		return false;
	out->suspect = calloc(n + 1, sizeof(*out->suspect));
	if (out->suspect == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!read_suspect(&out->suspect[out->suspects++], json_array_get(json, i)))
			return false;
	return true;
}

static bool read_parts(struct scan_result *out, json_t *json)
{
	for (size_t i = 0; i < json_array_size(json); i++) {
		const json_t *item = json_array_get(json, i);
		json_int_t number = json_integer_value(item);

		if (!json_is_integer(item) || number < 0 || number >= out->suspects)
			return false;
		out->suspect[number].is_text = false;
	}
	return json_is_array(json);
}

static bool read_closest(struct scan_closest *out, json_t *json)
{
	const char *trigger;
	double displacement, collapse, spread;

	if (json_is_null(json))
		return true;
	if (json_unpack(json, "{s:s, s:F, s:F, s:F, s:F}", "trigger", &trigger, "displacement", &displacement,
		    "collapse", &collapse, "spread", &spread, "log10_p", &out->log10_p) != 0)
		return false;
	out->score = score_of(displacement, collapse, spread);
	out->trigger = strdup(trigger);
	return out->trigger != NULL;
}

static bool read_shortlist(struct scan_result *out, json_t *json)
{
	size_t n = json_array_size(json);

	if (!json_is_array(json) || n > SCAN_SUSPECTS_MAX)
		return false;
	out->shortlist = calloc(n + 1, sizeof(*out->shortlist));
	for (size_t i = 0; i < n && out->shortlist != NULL; i++) {
		const char *text = json_string_value(json_array_get(json, i));

		out->shortlist[out->shortlisted] = text != NULL ? strdup(text) : NULL;
		if (out->shortlist[out->shortlisted++] == NULL)
			return false;
	}
	return out->shortlist != NULL;
}

static bool read_gaps(struct scan_result *out, json_t *json)
{
	if (!json_is_array(json) || json_array_size(json) > SCAN_GAPS_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(json); i++) {
		const char *text = json_string_value(json_array_get(json, i));

		if (text == NULL)
			return false;
		snprintf(out->gap[out->gaps++], SCAN_GAP_BYTES, "%s", text);
	}
	return true;
}

static bool read_cells(struct scan_histogram *out, json_t *json)
{
	for (size_t k = 0; k < json_array_size(json); k++) {
		int i, j, count;

		if (json_unpack(json_array_get(json, k), "[i, i, i!]", &i, &j, &count) != 0 || i < 0 ||
			i >= SCAN_BINS || j < 0 || j >= SCAN_BINS)
			return false;
		out->count[i][j] = count;
	}
	return json_is_array(json);
}

static bool read_histogram(struct scan_histogram *out, json_t *json)
{
	json_t *cells;
	double low;

	return json_unpack(json, "{s:i, s:[F, F], s:o}", "measured", &out->measured, "displacement", &low,
		       &out->displacement_max, "cells", &cells) == 0 &&
	       read_cells(out, cells);
}

static bool read_scan(struct scan_result *out, json_t *json)
{
	json_t *suspects, *closest, *gaps, *histogram;
	const char *verdict;

	if (json_unpack(json, "{s:i, s:i, s:s, s:o, s:i, s:i, s:o, s:o, s:F, s:o}", "candidates",
		    &out->candidates, "texts", &out->texts, "verdict", &verdict, "suspects", &suspects,
		    "clusters", &out->clusters, "left_out", &out->left_out, "closest", &closest,
		    "not_searched", &gaps, "seconds", &out->seconds, "histogram", &histogram) != 0)
		return false;
	return read_verdict(out, verdict) && read_suspects(out, suspects) &&
	       read_closest(&out->closest, closest) && read_gaps(out, gaps) &&
	       read_histogram(&out->histogram, histogram);
}

static bool read_record(struct scan_result *out, json_t *json)
{
	json_t *scan, *parts, *shortlist;

	return json_unpack(json, "{s:o, s:o, s:o}", "scan", &scan, "parts", &parts, "shortlist",
		       &shortlist) == 0 &&
	       read_scan(out, scan) && read_parts(out, parts) && read_shortlist(out, shortlist);
}

int scan_record_read(
	struct scan_result *out, bool *found, const char *spec_sha256, int dirfd, struct err *err)
{
	json_t *json;
	int rc = record_read(&json, FILE_NAME, spec_sha256, dirfd, err);

	*out = (struct scan_result){0};
	*found = rc == 0 && json != NULL && read_record(out, json);
	if (json != NULL && !*found) {
		record_left_aside(FILE_NAME);
		scan_result_done(out);
	}
	json_decref(json);
	return rc;
}
