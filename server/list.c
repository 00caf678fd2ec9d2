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

void respond_rows(struct request *req, struct rows *rows)
{
	struct buf text = {0};

	rows_finish(&text, rows);
	respond_text(req, 200, "application/json", &text);
}

void respond_list(struct request *req, json_t *data, bool has_more)
{
	struct rows rows = {.has_more = has_more};
	json_t *object;
	size_t i;

	json_array_foreach(data, i, object)
		json_write(rows_next(&rows, json_string_value(json_object_get(object, "id"))), object);
	json_decref(data);
	respond_rows(req, &rows);
}
