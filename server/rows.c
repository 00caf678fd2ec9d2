#include "server/rows.h"

#include <stdio.h>

#include "common/json.h"

struct buf *rows_next(struct rows *rows, const char *id)
{
	if (rows->n == 0)
		snprintf(rows->first_id, sizeof(rows->first_id), "%s", id);
	else
		buf_str(&rows->text, ",");
	snprintf(rows->last_id, sizeof(rows->last_id), "%s", id);
	rows->n++;
	return &rows->text;
}

void rows_head(struct buf *out)
{
	buf_str(out, "{\"object\":\"list\",\"data\":[");
}

static void write_id(struct buf *out, const char *name, const char *id)
{
	buf_str(out, name);
	if (id[0] == '\0')
		buf_str(out, "null");
	else
		json_write_string(out, id);
}

void rows_tail(struct buf *out, const struct rows *rows)
{
	write_id(out, "],\"first_id\":", rows->first_id);
	write_id(out, ",\"last_id\":", rows->last_id);
	buf_str(out, rows->has_more ? ",\"has_more\":true}" : ",\"has_more\":false}");
}

void rows_finish(struct buf *out, struct rows *rows)
{
	rows_head(out);
	if (rows->text.failed)
		out->failed = true;
	else
		buf_add(out, rows->text.data, rows->text.len);
	rows_tail(out, rows);
	rows_done(rows);
}

void rows_done(struct rows *rows)
{
	buf_done(&rows->text);
}
