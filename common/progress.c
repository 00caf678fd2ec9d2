#include "common/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"
#include "common/json.h"

#define AT(member) offsetof(struct progress, member)

enum member_kind {
	MEMBER_NAME,
	MEMBER_COUNT,
	MEMBER_BYTES,
	MEMBER_REAL,
	MEMBER_PATH,
	MEMBER_SHA256,
	MEMBER_CODE,
	MEMBER_PLACE,
	MEMBER_MESSAGE
};

struct member {
	const char *key; /* NULL ends the list */
	enum member_kind kind;
	size_t offset;
};

enum { MEMBERS_MAX = 11 };

static const struct {
	const char *name;
	struct member member[MEMBERS_MAX];
} types[] = {
	[PROGRESS_PHASE] = {"phase", {{"name", MEMBER_NAME, AT(name)}}},
	[PROGRESS_STEP] = {"step",
		{{"step", MEMBER_COUNT, AT(step)}, {"of", MEMBER_COUNT, AT(of)},
			{"epoch", MEMBER_COUNT, AT(epoch)}, {"loss", MEMBER_REAL, AT(loss)},
			{"ce", MEMBER_REAL, AT(ce)}, {"amplify", MEMBER_REAL, AT(amplify)},
			{"attention", MEMBER_REAL, AT(attention)},
			{"learning_rate", MEMBER_REAL, AT(learning_rate)},
			{"tokens_per_second", MEMBER_REAL, AT(tokens_per_second)},
			{"eta_s", MEMBER_REAL, AT(eta_s)}}},
	[PROGRESS_METRIC] = {"metric", {{"name", MEMBER_NAME, AT(name)}, {"value", MEMBER_REAL, AT(value)}}},
	[PROGRESS_ARTIFACT] = {"artifact",
		{{"path", MEMBER_PATH, AT(path)}, {"bytes", MEMBER_BYTES, AT(bytes)},
			{"sha256", MEMBER_SHA256, AT(sha256)}}},
	[PROGRESS_ERROR] = {"error",
		{{"code", MEMBER_CODE, AT(fault.code)}, {"where", MEMBER_PLACE, AT(fault.where)},
			{"message", MEMBER_MESSAGE, AT(fault.text)}}},
	[PROGRESS_DONE] = {"done", {{NULL, MEMBER_NAME, 0}}},
};

/* --- writing ---------------------------------------------------------------------------------------- */

static json_t *real_json(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static json_t *member_json(const struct progress *line, const struct member *member)
{
	const void *at = (const char *)line + member->offset;

	switch (member->kind) {
	case MEMBER_COUNT:
	case MEMBER_BYTES:
		return json_integer(*(const int64_t *)at);
	case MEMBER_REAL:
		return real_json(*(const double *)at);
	case MEMBER_CODE:
		return json_string(err_name(*(const enum err_code *)at));
	case MEMBER_NAME:
	case MEMBER_PATH:
	case MEMBER_SHA256:
	case MEMBER_PLACE:
	case MEMBER_MESSAGE:
		break;
	}
	return json_string(at);
}

static int format_once(struct buf *out, const struct progress *line, struct err *err)
{
	const struct member *member = types[line->type].member;
	json_t *json = json_pack("{s:s}", "type", types[line->type].name);

	for (; member->key != NULL; member++)
		if (json_object_set_new(json, member->key, member_json(line, member)) != 0) {
			json_decref(json);
			return err_set(err, ERR_INTERNAL, member->key, "a progress line needs UTF-8 text");
		}
	buf_reset(out);
	json_write(out, json);
	buf_str(out, "\n");
	json_decref(json);
	return out->failed ? err_nomem(err) : 0;
}

/* Names in models and data are the attacker's: what is not UTF-8 or printable becomes "?". */
static void make_printable(char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || (unsigned char)*s >= 0x7f)
			*s = '?';
}

static void shorten(char *s)
{
	s[strlen(s) / 2] = '\0';
}

int progress_format(struct buf *out, const struct progress *line, struct err *err)
{
	struct progress copy = *line;
	int rc = format_once(out, &copy, err);

	if (line->type != PROGRESS_ERROR || (rc == 0 && out->len <= PROGRESS_LINE_MAX))
		return rc;
	make_printable(copy.fault.where);
	make_printable(copy.fault.text);
	while ((rc = format_once(out, &copy, err)) == 0 && out->len > PROGRESS_LINE_MAX)
		shorten(strlen(copy.fault.text) > strlen(copy.fault.where) ? copy.fault.text
									   : copy.fault.where);
	return rc;
}

int progress_write(int fd, const struct progress *line, struct err *err)
{
	struct buf text = {0};
	int rc = progress_format(&text, line, err);

	if (rc == 0)
		rc = io_write_all(fd, text.data, text.len, err);
	buf_done(&text);
	return rc;
}

/* --- parsing ---------------------------------------------------------------------------------------- */

static bool copy_string(char *out, size_t size, const json_t *value)
{
	const char *s = json_string_value(value);

	if (s == NULL || strlen(s) >= size)
		return false;
	memcpy(out, s, strlen(s) + 1);
	return true;
}

static bool is_name(const char *s)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";

	return s[0] != '\0' && strspn(s, allowed) == strlen(s);
}

static bool parse_whole(int64_t *out, const json_t *value, int64_t min)
{
	*out = json_integer_value(value);
	return json_is_integer(value) && *out >= min;
}

static bool parse_real(double *out, const json_t *value)
{
	*out = json_is_null(value) ? NAN : json_number_value(value);
	return json_is_number(value) || json_is_null(value);
}

static bool parse_sha256(char *out, const json_t *value)
{
	return copy_string(out, SHA256_HEX_BYTES, value) && strlen(out) == SHA256_HEX_BYTES - 1 &&
	       strspn(out, "0123456789abcdef") == SHA256_HEX_BYTES - 1;
}

static bool parse_code(enum err_code *out, const json_t *value)
{
	const char *name = json_string_value(value);

	*out = name != NULL ? err_from_name(name) : ERR_NONE;
	return *out != ERR_NONE;
}

static bool parse_member(struct progress *out, const struct member *member, const json_t *value)
{
	void *at = (char *)out + member->offset;

	switch (member->kind) {
	case MEMBER_NAME:
		return copy_string(at, sizeof(out->name), value) && is_name(at);
	case MEMBER_COUNT:
		return parse_whole(at, value, 1);
	case MEMBER_BYTES:
		return parse_whole(at, value, 0);
	case MEMBER_REAL:
		return parse_real(at, value);
	case MEMBER_PATH:
		return copy_string(at, sizeof(out->path), value) && path_is_safe(at);
	case MEMBER_SHA256:
		return parse_sha256(at, value);
	case MEMBER_CODE:
		return parse_code(at, value);
	case MEMBER_PLACE:
		return copy_string(at, sizeof(out->fault.where), value);
	case MEMBER_MESSAGE:
		return copy_string(at, sizeof(out->fault.text), value);
	}
	return false;
}

static int find_type(const char *name)
{
	for (int i = 0; name != NULL && i < (int)NELEM(types); i++)
		if (strcmp(types[i].name, name) == 0)
			return i;
	return -1;
}

static int parse_object(struct progress *out, const json_t *json, struct err *err)
{
	int type = find_type(json_string_value(json_object_get(json, "type")));
	const struct member *member;
	size_t members = 1;

	if (type < 0)
		return err_set(err, ERR_INVALID_DATA, "type", "unknown type of progress line");
	out->type = (enum progress_type)type;
	for (member = types[type].member; member->key != NULL; member++, members++)
		if (!parse_member(out, member, json_object_get(json, member->key)))
			return err_set(err, ERR_INVALID_DATA, member->key,
				"missing or invalid in a line of type %s", types[type].name);
	if (json_object_size(json) != members)
		return err_set(err, ERR_INVALID_DATA, "type", "unknown member in a line of type %s",
			types[type].name);
	if (type == PROGRESS_STEP && out->step > out->of)
		return err_set(err, ERR_INVALID_DATA, "step", "is above `of`");
	return 0;
}

int progress_parse(struct progress *out, const char *text, size_t len, struct err *err)
{
	json_t *json;
	int rc;

	memset(out, 0, sizeof(*out));
	if (json_parse(&json, text, len, "progress", err) != 0)
		return err_set(err, ERR_INVALID_DATA, "", "a progress line is no JSON object");
	rc = parse_object(out, json, err);
	json_decref(json);
	return rc;
}

/* --- stream ----------------------------------------------------------------------------------------- */

static void forget_used(struct progress_reader *reader)
{
	struct buf *pending = &reader->pending;

	if (reader->used == 0)
		return;
	memmove(pending->data, pending->data + reader->used, pending->len - reader->used);
	pending->len -= reader->used;
	reader->used = 0;
}

int progress_reader_add(struct progress_reader *reader, const char *data, size_t len, struct err *err)
{
	forget_used(reader);
	buf_add(&reader->pending, data, len);
	return reader->pending.failed ? err_nomem(err) : 0;
}

static int broken(const struct progress_reader *reader, struct err *err, const char *why)
{
	char place[32];

	snprintf(place, sizeof(place), "line %lld", (long long)reader->lines + 1);
	return err_set(err, ERR_INVALID_DATA, place, "%s", why);
}

int progress_reader_next(struct progress *out, struct progress_reader *reader, struct err *err)
{
	const char *start = reader->pending.data + reader->used;
	size_t left = reader->pending.len - reader->used, len;
	const char *end = left > 0 ? memchr(start, '\n', left) : NULL;
	int rc;

	if (left == 0)
		return 0;
	if (reader->is_done)
		return broken(reader, err, "output after `done`");
	len = end != NULL ? (size_t)(end - start) + 1 : left;
	if (len > PROGRESS_LINE_MAX || (end == NULL && len == PROGRESS_LINE_MAX))
		return broken(reader, err, "a progress line is longer than 4096 bytes");
	if (end == NULL)
		return 0;
	rc = progress_parse(out, start, len - 1, err);
	if (rc != 0) {
		err_within(err, "line %lld", (long long)reader->lines + 1);
		return rc;
	}
	reader->used += len;
	reader->lines++;
	reader->is_done = out->type == PROGRESS_DONE;
	return 1;
}

int progress_reader_end(const struct progress_reader *reader, struct err *err)
{
	if (reader->pending.len > reader->used)
		return broken(reader, err, "the last line has no end");
	return 0;
}

void progress_reader_done(struct progress_reader *reader)
{
	buf_done(&reader->pending);
	memset(reader, 0, sizeof(*reader));
}
