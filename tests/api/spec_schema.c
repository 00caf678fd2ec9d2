/* Prints the JSON schema of a job request, as spec_table.c has it; spec_schema.py runs it. */
#include "common/spec.h"

int main(void)
{
	json_t *schema = spec_schema();

	if (schema == NULL)
		return 1;
	json_dumpf(schema, stdout, JSON_REAL_PRECISION(15));
	json_decref(schema);
	return 0;
}
