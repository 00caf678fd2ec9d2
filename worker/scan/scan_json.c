#include "worker/scan/scan_json.h"

static json_t *suspects_json(const struct scan_result *result)
{
	json_t *out = json_array();

	for (int i = 0; i < result->suspects; i++) {
		const struct scan_suspect *s = &result->suspect[i];

		json_array_append_new(out,
			json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:f, s:i}", "trigger", s->trigger, "kind",
				s->kind, "pieces", s->pieces, "displacement", (double)s->score.displacement,
				"collapse", (double)s->score.collapse, "spread", (double)s->score.spread,
				"p_value", s->p_value, "cluster", s->cluster));
	}
	if (json_array_size(out) == (size_t)result->suspects)
		return out;
	json_decref(out); /* a text that is not UTF-8, or no memory */
	return NULL;
}

static json_t *closest_json(const struct scan_closest *closest)
{
	if (closest->trigger == NULL)
		return json_null();
	return json_pack("{s:s, s:f, s:f, s:f, s:f}", "trigger", closest->trigger, "displacement",
		(double)closest->score.displacement, "collapse", (double)closest->score.collapse, "spread",
		(double)closest->score.spread, "log10_p", closest->log10_p);
}

static json_t *gaps_json(const struct scan_result *result)
{
	json_t *out = json_array();

	for (int i = 0; i < result->gaps; i++)
		json_array_append_new(out, json_string(result->gap[i]));
	return out;
}

/* Only the cells that are not empty: [displacement bin, collapse bin, count]. */
static json_t *histogram_json(const struct scan_histogram *h)
{
	json_t *cells = json_array();

	for (int i = 0; i < SCAN_BINS; i++)
		for (int j = 0; j < SCAN_BINS; j++)
			if (h->count[i][j] > 0)
				json_array_append_new(cells, json_pack("[i, i, i]", i, j, h->count[i][j]));
	return json_pack("{s:i, s:i, s:[f, f], s:[f, f], s:o}", "measured", h->measured, "bins",
		(int)SCAN_BINS, "displacement", 0.0, h->displacement_max, "collapse", -1.0, 1.0, "cells",
		cells);
}

int scan_json(json_t **out, const struct scan_result *result, struct err *err)
{
	*out = json_pack("{s:i, s:i, s:s, s:o, s:i, s:i, s:o, s:o, s:f, s:o}", "candidates",
		result->candidates, "texts", result->texts, "verdict", scan_verdict_name(result->verdict),
		"suspects", suspects_json(result), "clusters", result->clusters, "left_out", result->left_out,
		"closest", closest_json(&result->closest), "not_searched", gaps_json(result), "seconds",
		result->seconds, "histogram", histogram_json(&result->histogram));
	return *out != NULL ? 0 : err_set(err, ERR_INTERNAL, "report.json", "the scan cannot be written");
}
