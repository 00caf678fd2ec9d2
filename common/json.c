#include "common/json.h"

#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

/* Of several places where memory may be lacking, jansson names some, and of the others it says nothing at all. */
static bool lacks_memory(const json_error_t *fault)
{
	return fault->text[0] == '\0' || json_error_code(fault) == json_error_out_of_memory;
}

static int parse(json_t **out, const char *data, size_t len, size_t flags, const char *where, struct err *err)
{
	json_error_t fault;
	char place[256];
	json_t *value = json_loadb(data, len, JSON_REJECT_DUPLICATES | flags, &fault);

	if (value == NULL && lacks_memory(&fault))
		return err_nomem(err);
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

/* How many bytes at the start go into a string as they are. */
static size_t plain_bytes(const char *text, size_t len)
{
	size_t n = 0;

	while (n < len && (unsigned char)text[n] >= 0x20 && text[n] != '"' && text[n] != '\\')
		n++;
	return utf8_valid(text, n);
}

static void write_escaped(struct buf *buf, char c)
{
	char escape[8];

	if (c == '"' || c == '\\')
		snprintf(escape, sizeof(escape), "\\%c", c);
	else if (c == '\n')
		snprintf(escape, sizeof(escape), "\\n");
	else if ((unsigned char)c < 0x20)
		snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)c);
	else
		snprintf(escape, sizeof(escape), "\\ufffd");
	buf_str(buf, escape);
}

void json_write_string(struct buf *buf, const char *text)
{
	size_t len = strlen(text);

	buf_add(buf, "\"", 1);
	while (len > 0) {
		size_t n = plain_bytes(text, len);

		buf_add(buf, text, n);
		if (n < len)
			write_escaped(buf, text[n++]);
		text += n;
		len -= n;
	}
	buf_add(buf, "\"", 1);
}

void json_write_pretty(struct buf *buf, const json_t *value)
{
	dump(buf, value, JSON_INDENT(2));
	buf_str(buf, "\n");
}
