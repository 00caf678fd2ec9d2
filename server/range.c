#include "server/range.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool read_number(uint64_t *out, const char **s)
{
	char *end;

	if (!isdigit((unsigned char)**s))
		return false;
	errno = 0;
	*out = strtoull(*s, &end, 10);
	*s = end;
	return errno == 0;
}

enum range_result range_parse(uint64_t *first, uint64_t *last, const char *header, uint64_t bytes)
{
	static const char unit[] = "bytes=";
	const char *s = header + sizeof(unit) - 1;
	uint64_t from = 0, to = UINT64_MAX;
	bool has_from, has_to;

	if (strncmp(header, unit, sizeof(unit) - 1) != 0)
		return RANGE_WHOLE;
	has_from = read_number(&from, &s);
	if (*s++ != '-')
		return RANGE_WHOLE;
	has_to = read_number(&to, &s);
	if (*s != '\0' || (!has_from && !has_to) || (has_from && has_to && to < from))
		return RANGE_WHOLE;
	if (!has_from) { /* the last `to` bytes */
		if (to == 0 || bytes == 0)
			return RANGE_UNSATISFIABLE;
		from = to >= bytes ? 0 : bytes - to;
		to = bytes - 1;
	}
	if (from >= bytes)
		return RANGE_UNSATISFIABLE;
	*first = from;
	*last = MIN(to, bytes - 1);
	return RANGE_PART;
}

bool etag_matches(const char *list, const char *etag)
{
	size_t len = strlen(etag);

	while (*list != '\0') {
		list += strspn(list, " \t,");
		if (*list == '*')
			return true;
		if (strncmp(list, "W/", 2) == 0)
			list += 2;
		if (strncmp(list, etag, len) == 0)
			return true;
		list += strcspn(list, ",");
	}
	return false;
}
