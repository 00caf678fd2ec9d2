/*
 * routes: which handler answers which method and path. One const table; http.c walks it.
 */
#ifndef OBLIVIATE_ROUTES_H
#define OBLIVIATE_ROUTES_H

#include "server/http.h"

enum route_flags {
	ROUTE_KEY = 1,	     /* needs an API key once one exists: all of /v1 */
	ROUTE_JSON = 2,	     /* takes application/json */
	ROUTE_EMPTY_OK = 4,  /* ... or nothing at all */
	ROUTE_MULTIPART = 8, /* takes multipart/form-data; with ROUTE_JSON: either */
	ROUTE_STATIC = 16,   /* may be cached by the client; answers need not be JSON */
};

/* What a multipart body is streamed into, in this order. An error ends the upload; the state of the
 * upload is kept with request_own and cleans up after itself. */
struct upload_part {
	const char *name;
	const char *filename; /* NULL when the part has none; never trusted */
};

struct upload_ops {
	int (*begin)(struct request *req, struct err *err);
	int (*part)(struct request *req, const struct upload_part *part, struct err *err);
	/* Where request_write_to was called, the bytes are written afterwards: they are to be counted here. */
	int (*data)(struct request *req, const void *data, size_t len, struct err *err);
	int (*end)(struct request *req, const char *sha256, struct err *err); /* of the part's bytes */
};

struct route {
	const char *method;  /* "GET" answers HEAD as well */
	const char *pattern; /* "/v1/files/{id}/content": {id} is one non-empty segment */
	unsigned flags;
	int (*handle)(struct request *req, struct err *err);
	const struct upload_ops *upload; /* ROUTE_MULTIPART */
};

/*
 * Find the route; *param_start and *param_len are where {id} stood in path (len 0: nowhere). NULL with
 * ERR_NOT_FOUND, or ERR_METHOD and the list for the Allow header in `allow`.
 */
const struct route *route_find(const char *method, const char *path, size_t *param_start, size_t *param_len,
	char *allow, size_t allow_len, struct err *err);

#endif
