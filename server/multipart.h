/*
 * multipart: streaming parser of multipart/form-data (RFC 7578 over RFC 2046), strict.
 *
 *   body  = "--" boundary CRLF part *( CRLF "--" boundary CRLF part ) CRLF "--" boundary "--" anything
 *   part  = 1*( header CRLF ) CRLF bytes
 *
 * No preamble; a part has exactly one Content-Disposition, of type form-data and with a name; no transfer encoding
 * but binary, 8bit and 7bit. In a quoted name or filename \" and \\ are unescaped, every other backslash is itself.
 * The input is hostile and comes in pieces of any size; memory is bounded by MULTIPART_HEADER_MAX.
 */
#ifndef OBLIVIATE_MULTIPART_H
#define OBLIVIATE_MULTIPART_H

#include <sys/types.h>

#include "common/buf.h"
#include "common/err.h"

enum {
	MULTIPART_BOUNDARY_MAX = 70, /* RFC 2046 */
	MULTIPART_HEADER_MAX = 8192, /* of one part */
	MULTIPART_PARTS_MAX = 10000,
};

/* Called in this order for each part; an error stops the parser. filename is NULL where there is none. */
struct multipart_ops {
	int (*part)(void *arg, const char *name, const char *filename, struct err *err);
	int (*data)(void *arg, const void *data, size_t len, struct err *err);
	int (*end)(void *arg, struct err *err);
};

enum multipart_state {
	MULTIPART_START,
	MULTIPART_DATA,
	MULTIPART_AFTER,
	MULTIPART_HEADER,
	MULTIPART_EPILOGUE
};

struct multipart {
	const struct multipart_ops *ops;
	void *arg;
	enum multipart_state state;
	char delimiter[4 + MULTIPART_BOUNDARY_MAX + 1]; /* CRLF "--" boundary */
	size_t delimiter_len;
	size_t matched; /* bytes of the delimiter that the input so far ends with */
	size_t n_parts;
	char after[2]; /* what follows a delimiter */
	size_t n_after;
	struct buf header;
};

/* From the value of a Content-Type header; ERR_MEDIA_TYPE unless it is multipart/form-data with a boundary. */
int multipart_init(struct multipart *out, const char *content_type, const struct multipart_ops *ops,
	void *arg, struct err *err) MUST_USE;
int multipart_feed(struct multipart *parser, const char *data, size_t len, struct err *err) MUST_USE;
/* ERR_INVALID_VALUE unless the closing delimiter was seen. */
int multipart_finish(const struct multipart *parser, struct err *err) MUST_USE;
void multipart_done(struct multipart *parser);

#endif
