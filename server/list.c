#include "server/list.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_limit(int *out, const char *text, int max, struct err *err)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (!isdigit((unsigned char)text[0]) || *end != '\0' || n < 1 || n > max)
		return err_set(err, ERR_INVALID_VALUE, "limit", "must be a number from 1 to %d", max);
	*out = (int)n;
	return 0;
}

int page_parse(struct page *out, const struct request *req, int max_limit, int default_limit, struct err *err)
{
	const char *limit = request_query(req, "limit"), *after = request_query(req, "after");
	const char *order = request_query(req, "order");

	*out = (struct page){.limit = default_limit};
	if (order != NULL && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0)
		return err_set(err, ERR_INVALID_VALUE, "order", "must be 'asc' or 'desc'");
	out->is_ascending = order != NULL && strcmp(order, "asc") == 0;
	if (after != NULL && strlen(after) >= sizeof(out->after))
		return err_set(err, ERR_NOT_FOUND, "after", "no such object");
	if (after != NULL)
		snprintf(out->after, sizeof(out->after), "%s", after);
	return limit == NULL ? 0 : parse_limit(&out->limit, limit, max_limit, err);
}

static json_t *id_at(const json_t *data, size_t i)
{
	json_t *id = json_object_get(json_array_get(data, i), "id");

	return id == NULL ? json_null() : json_incref(id);
}

void respond_list(struct request *req, json_t *data, bool has_more)
{
	size_t n = json_array_size(data);
	json_t *first = id_at(data, 0), *last = id_at(data, n == 0 ? 0 : n - 1);

	respond_json(req, 200,
		json_pack("{s:s, s:o, s:o, s:o, s:b}", "object", "list", "data", data, "first_id", first,
			"last_id", last, "has_more", (int)has_more));
}
