#include "worker/scan/flips_json.h"

#include <math.h>

#include "worker/eval/rate_json.h"

static json_t *list_json(const struct flips_result *result, const struct labels *labels)
{
	json_t *out = json_array();

	for (int i = 0; i < result->flips; i++) {
		const struct flip *flip = &result->flip[i];

		json_array_append_new(
			out, json_pack("{s:s, s:s, s:s, s:o, s:f, s:f, s:f, s:o, s:b, s:b}", "trigger",
				     flip->trigger, "kind", flip->kind, "label", labels->name[flip->label],
				     "rate", rate_json(&flip->rate), "confidence", flip->confidence, "spread",
				     flip->spread, "p_value", flip->p_value, "neighbors",
				     isnan(flip->neighbors) ? json_null() : json_real(flip->neighbors),
				     "found", flip->is_found, "suspect", flip->is_suspect));
	}
	if (json_array_size(out) == (size_t)result->flips)
		return out;
	json_decref(out); /* a text that is not UTF-8, or no memory */
	return NULL;
}

static json_t *gaps_json(const struct flips_result *result)
{
	json_t *out = json_array();

	for (int i = 0; i < result->gaps; i++)
		json_array_append_new(out, json_string(result->gap[i]));
	return out;
}

int flips_json(json_t **out, const struct flips_result *result, const struct labels *labels, struct err *err)
{
	*out = json_pack("{s:i, s:i, s:f, s:o, s:i, s:o, s:f}", "candidates", result->candidates, "rows",
		result->rows, "usual_rate", result->usual, "flips", list_json(result, labels), "left_out",
		result->left_out, "not_searched", gaps_json(result), "seconds", result->seconds);
	return *out != NULL ? 0 : err_set(err, ERR_INTERNAL, "report.json", "the flips cannot be written");
}
