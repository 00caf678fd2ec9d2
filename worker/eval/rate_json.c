#include "worker/eval/rate_json.h"

json_t *rate_json(const struct rate *rate)
{
	if (rate->total == 0)
		return json_pack(
			"{s:n, s:i, s:i, s:n}", "value", "count", rate->count, "total", 0, "interval");
	return json_pack("{s:f, s:i, s:i, s:[f, f]}", "value", rate->value, "count", rate->count, "total",
		rate->total, "interval", rate->low, rate->high);
}
