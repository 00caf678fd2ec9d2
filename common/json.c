#include "common/json.h"

#include <stdio.h>

static int parse(json_t **out, const char *data, size_t len, size_t flags, const char *where, struct err *err)
{
	json_error_t fault;
	char place[256];
	json_t *value = json_loadb(data, len, JSON_REJECT_DUPLICATES | flags, &fault);

	if (value == NULL) {
		snprintf(place, sizeof(place), "%s:%d:%d", where, fault.line, fault.column);
		return err_set(err, ERR_INVALID_JSON, place, "%s", fault.text);
	}
	*out = value;
	return 0;
}

int json_parse(json_t **out, const char *data, size_t len, const char *where, struct err *err)
{
	return parse(out, data, len, 0, where, err);
}

int json_parse_wide(json_t **out, const char *data, size_t len, const char *where, struct err *err)
{
	return parse(out, data, len, JSON_DECODE_INT_AS_REAL, where, err);
}

bool json_is_bounded(const char *data, size_t len, size_t max)
{
	size_t count = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		if (in_string && data[i] == '\\')
			i++;
		else if (data[i] == '"')
			in_string = !in_string;
		else if (!in_string && (data[i] == ',' || data[i] == '[' || data[i] == '{'))
			count++;
	}
	return count <= max;
}

static int append(const char *data, size_t len, void *arg)
{
	struct buf *buf = arg;

	buf_add(buf, data, len);
	return buf->failed ? -1 : 0;
}

static void dump(struct buf *buf, const json_t *value, size_t flags)
{
	if (json_dump_callback(value, append, buf, flags | JSON_ENCODE_ANY) != 0)
		buf->failed = true;
}

void json_write(struct buf *buf, const json_t *value)
{
	dump(buf, value, JSON_COMPACT);
}

void json_write_sorted(struct buf *buf, const json_t *value)
{
	dump(buf, value, JSON_COMPACT | JSON_SORT_KEYS);
}

void json_write_pretty(struct buf *buf, const json_t *value)
{
	dump(buf, value, JSON_INDENT(2));
	buf_str(buf, "\n");
}
