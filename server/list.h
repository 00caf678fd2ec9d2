/* list: the paging that every list of the interface shares. */
#ifndef OBLIVIATE_LIST_H
#define OBLIVIATE_LIST_H

#include "server/http.h"
#include "server/store.h"

/* limit, after and order of the query; ERR_INVALID_VALUE outside 1..max_limit. */
int page_parse(struct page *out, const struct request *req, int max_limit, int default_limit,
	struct err *err) MUST_USE;
/* The list object with these rows, which are gone afterwards. */
void respond_rows(struct request *req, struct rows *rows);
/* {object "list", data, first_id, last_id, has_more}; steals data, an array of objects with "id". */
void respond_list(struct request *req, json_t *data, bool has_more);

#endif
