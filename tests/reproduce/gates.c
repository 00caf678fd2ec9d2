/* Reads [[report, thresholds], ...] and prints the verdict of each, as common/gate.h finds it; gates.py runs it. */
#include "common/gate.h"

int main(void)
{
	json_t *pairs = json_loadf(stdin, 0, NULL), *out = json_array();

	for (size_t i = 0; i < json_array_size(pairs); i++) {
		const json_t *pair = json_array_get(pairs, i);
		json_t *judged = gate_judge(json_array_get(pair, 0), json_array_get(pair, 1));

		json_array_append(out, json_object_get(judged, "verdict"));
		json_decref(judged);
	}
	json_dumpf(out, stdout, 0);
	json_decref(out);
	json_decref(pairs);
	return 0;
}
