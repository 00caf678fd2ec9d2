/* range: the conditional and range headers of a GET, for a representation with a strong ETag (RFC 9110). */
#ifndef OBLIVIATE_RANGE_H
#define OBLIVIATE_RANGE_H

#include "common/base.h"

enum range_result { RANGE_WHOLE, RANGE_PART, RANGE_UNSATISFIABLE };

/*
 * The Range header against `bytes`. Anything but one range in bytes, or malformed, gives RANGE_WHOLE as the
 * RFC wants; *first and *last (inclusive) are set for RANGE_PART.
 */
enum range_result range_parse(uint64_t *first, uint64_t *last, const char *header, uint64_t bytes);

/* Does an If-None-Match list ("a", W/"b", *) name this quoted ETag? Weak comparison. */
bool etag_matches(const char *list, const char *etag);

#endif
