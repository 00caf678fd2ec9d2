/* Prints the JSON schemas of requests, an object by name, as spec_table.c has them; spec_schema.py runs it. */
#include "common/spec.h"

int main(void)
{
	json_t *schemas = json_pack("{s:o, s:o}", "JobRequest", spec_schema(SPEC_FINE_TUNING), "ScanRequest",
		spec_schema(SPEC_SCAN));

	if (schemas == NULL)
		return 1;
	json_dumpf(schemas, stdout, JSON_REAL_PRECISION(15));
	json_decref(schemas);
	return 0;
}
