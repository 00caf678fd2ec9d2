#include "server/multipart.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char where[] = "body";

static int fault(struct err *err, const char *text)
{
	return err_set(err, ERR_INVALID_VALUE, where, "malformed multipart body: %s", text);
}

/* ---- parameters of a header: ; name=token or ; name="quoted" ---- */

static bool is_token_byte(char c)
{
	return c > 0x20 && c < 0x7f && strchr("()<>@,;:\\\"/[]?={}", c) == NULL;
}

static const char *skip_space(const char *s)
{
	return s + strspn(s, " \t");
}

/* The quoted string at *s (after its opening quote) into out; moves *s behind the closing quote. */
static bool read_quoted(char *out, size_t len, const char **s)
{
	size_t n = 0;

	for (; **s != '"'; (*s)++) {
		if (**s == '\\' && ((*s)[1] == '"' || (*s)[1] == '\\'))
			(*s)++;
		if (**s == '\0' || n + 1 >= len)
			return false;
		out[n++] = **s;
	}
	(*s)++;
	out[n] = '\0';
	return true;
}

static bool read_token(char *out, size_t len, const char **s)
{
	size_t n = 0;

	for (; is_token_byte(**s); (*s)++) {
		if (n + 1 >= len)
			return false;
		out[n++] = **s;
	}
	out[n] = '\0';
	return n > 0;
}

struct parameter {
	char name[64];
	char value[1024];
};

/* The next parameter at *s: 1, 0 at the end, -1 when malformed. */
static int next_parameter(struct parameter *out, const char **s)
{
	*s = skip_space(*s);
	if (**s == '\0')
		return 0;
	if (**s != ';')
		return -1;
	*s = skip_space(*s + 1);
	if (**s == '\0')
		return 0; /* a trailing semicolon is common and harmless */
	if (!read_token(out->name, sizeof(out->name), s) || **s != '=')
		return -1;
	(*s)++;
	if (**s != '"')
		return read_token(out->value, sizeof(out->value), s) ? 1 : -1;
	(*s)++;
	return read_quoted(out->value, sizeof(out->value), s) ? 1 : -1;
}

/* ---- the boundary ---- */

static bool is_boundary(const char *s)
{
	static const char bytes[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? ";
	size_t len = strlen(s);

	return len > 0 && len <= MULTIPART_BOUNDARY_MAX && strspn(s, bytes) == len && s[len - 1] != ' ';
}

int multipart_init(struct multipart *out, const char *content_type, const struct multipart_ops *ops,
	void *arg, struct err *err)
{
	static const char type[] = "multipart/form-data";
	const char *s = content_type + sizeof(type) - 1;
	struct parameter parameter;
	int got;

	*out = (struct multipart){.ops = ops, .arg = arg};
	if (strncasecmp(content_type, type, sizeof(type) - 1) != 0)
		return err_set(err, ERR_MEDIA_TYPE, "Content-Type", "expected %s", type);
	while ((got = next_parameter(&parameter, &s)) > 0) {
		if (strcasecmp(parameter.name, "boundary") == 0)
			break;
	}
	if (got <= 0 || !is_boundary(parameter.value))
		return err_set(err, ERR_MEDIA_TYPE, "Content-Type", "%s needs a valid boundary", type);
	snprintf(out->delimiter, sizeof(out->delimiter), "\r\n--%.*s", MULTIPART_BOUNDARY_MAX,
		parameter.value);
	out->delimiter_len = strlen(out->delimiter);
	out->matched = 2; /* the body begins as if a line had just ended */
	return 0;
}

void multipart_done(struct multipart *parser)
{
	buf_done(&parser->header);
}

/* ---- the header of a part ---- */

struct disposition {
	bool is_present;
	bool has_filename;
	char name[1024];
	char filename[1024];
};

static int read_disposition(struct disposition *out, const char *value, struct err *err)
{
	static const char type[] = "form-data";
	const char *s = value + sizeof(type) - 1;
	struct parameter parameter;
	bool has_name = false;
	int got;

	if (out->is_present)
		return fault(err, "a part has two Content-Disposition headers");
	if (strncasecmp(value, type, sizeof(type) - 1) != 0)
		return fault(err, "a part's Content-Disposition is not form-data");
	while ((got = next_parameter(&parameter, &s)) > 0) {
		if (strcasecmp(parameter.name, "name") == 0) {
			memcpy(out->name, parameter.value, sizeof(out->name));
			has_name = true;
		} else if (strcasecmp(parameter.name, "filename") == 0) {
			memcpy(out->filename, parameter.value, sizeof(out->filename));
			out->has_filename = true;
		}
	}
	if (got < 0 || !has_name)
		return fault(err, "a part's Content-Disposition has no name or cannot be read");
	out->is_present = true;
	return 0;
}

static int check_encoding(const char *value, struct err *err)
{
	static const char *const plain[] = {"binary", "8bit", "7bit"};

	for (size_t i = 0; i < NELEM(plain); i++) {
		if (strcasecmp(value, plain[i]) == 0)
			return 0;
	}
	return fault(err, "a part has a Content-Transfer-Encoding");
}

static int read_line(struct disposition *out, char *line, struct err *err)
{
	char *colon = strchr(line, ':');
	const char *value;

	if (colon == NULL || colon == line)
		return fault(err, "a part's header line has no name");
	*colon = '\0';
	value = skip_space(colon + 1);
	if (strcasecmp(line, "Content-Disposition") == 0)
		return read_disposition(out, value, err);
	if (strcasecmp(line, "Content-Transfer-Encoding") == 0)
		return check_encoding(value, err);
	return 0;
}

/* The collected header, which ends in CRLF CRLF (or is CRLF alone), starts a part. */
static int start_part(struct multipart *parser, struct err *err)
{
	struct disposition disposition = {0};
	char *line = parser->header.data, *end;

	for (size_t i = 0; i < parser->header.len; i++) {
		char c = line[i];

		if (c == '\0' || c == 0x7f || (c > 0 && c < 0x20 && c != '\t' && c != '\r' && c != '\n'))
			return fault(err, "a control byte in a part's header");
	}
	while ((end = strstr(line, "\r\n")) != line) {
		int rc;

		*end = '\0';
		if (strpbrk(line, "\r\n") != NULL)
			return fault(err, "a bare CR or LF in a part's header");
		rc = read_line(&disposition, line, err);
		if (rc != 0)
			return rc;
		line = end + 2;
	}
	if (!disposition.is_present)
		return fault(err, "a part has no Content-Disposition");
	if (++parser->n_parts > MULTIPART_PARTS_MAX)
		return err_set(err, ERR_TOO_LARGE, where, "more than %d parts", MULTIPART_PARTS_MAX);
	return parser->ops->part(
		parser->arg, disposition.name, disposition.has_filename ? disposition.filename : NULL, err);
}

/* ---- the states; each consumes at least a byte and returns how many, or an error ---- */

static bool header_is_whole(const struct buf *header)
{
	if (header->len == 2)
		return memcmp(header->data, "\r\n", 2) == 0;
	return header->len >= 4 && memcmp(header->data + header->len - 4, "\r\n\r\n", 4) == 0;
}

static ssize_t eat_header(struct multipart *parser, const char *data, size_t len, struct err *err)
{
	for (size_t i = 0; i < len; i++) {
		int rc;

		buf_add(&parser->header, data + i, 1);
		if (parser->header.failed)
			return err_nomem(err);
		if (parser->header.len > MULTIPART_HEADER_MAX)
			return fault(err, "a part's header is too long");
		if (!header_is_whole(&parser->header))
			continue;
		rc = start_part(parser, err);
		if (rc != 0)
			return rc;
		parser->state = MULTIPART_DATA;
		parser->matched = 0;
		return (ssize_t)i + 1;
	}
	return (ssize_t)len;
}

/* How many bytes at the start are certainly the part's: up to the delimiter, or up to where one may begin that ends in the
 * next piece. The whole of it is looked for, which skips; looking for its CR stops every 256 bytes of a model. */
static size_t plain_bytes(const struct multipart *parser, const char *data, size_t len)
{
	size_t whole = parser->delimiter_len;
	const char *end = data + len, *at = memmem(data, len, parser->delimiter, whole);

	if (at != NULL)
		return (size_t)(at - data);
	at = len < whole ? data : end - whole + 1;
	while ((at = memchr(at, '\r', (size_t)(end - at))) != NULL) {
		if (memcmp(at, parser->delimiter, (size_t)(end - at)) == 0)
			return (size_t)(at - data);
		at++;
	}
	return len;
}

/* Bytes of a part (or, at the start, nothing) up to the delimiter. CR stands only at the delimiter's begin, so after a
 * mismatch no shorter prefix can match but at the byte at hand. */
static ssize_t eat_data(struct multipart *parser, const char *data, size_t len, struct err *err)
{
	size_t n;
	int rc;

	if (parser->matched > 0 && data[0] == parser->delimiter[parser->matched]) {
		if (++parser->matched == parser->delimiter_len) {
			parser->n_after = 0;
			rc = parser->state == MULTIPART_DATA ? parser->ops->end(parser->arg, err) : 0;
			parser->state = MULTIPART_AFTER;
			return rc != 0 ? rc : 1;
		}
		return 1;
	}
	if (parser->state == MULTIPART_START)
		return fault(err, "it does not begin with its boundary");
	if (parser->matched > 0) {
		rc = parser->ops->data(parser->arg, parser->delimiter, parser->matched, err);
		parser->matched = 0;
		if (rc != 0)
			return rc;
	}
	n = plain_bytes(parser, data, len);
	if (n > 0) {
		rc = parser->ops->data(parser->arg, data, n, err);
		return rc != 0 ? rc : (ssize_t)n;
	}
	parser->matched = 1;
	return 1;
}

static ssize_t eat_after(struct multipart *parser, const char *data, struct err *err)
{
	if (parser->n_after == 0 && (data[0] == ' ' || data[0] == '\t'))
		return 1; /* transport padding */
	parser->after[parser->n_after++] = data[0];
	if (parser->n_after < 2)
		return 1;
	if (memcmp(parser->after, "--", 2) == 0) {
		parser->state = MULTIPART_EPILOGUE;
		return 1;
	}
	if (memcmp(parser->after, "\r\n", 2) != 0)
		return fault(err, "a boundary is followed by something else than a line end");
	buf_reset(&parser->header);
	parser->state = MULTIPART_HEADER;
	return 1;
}

int multipart_feed(struct multipart *parser, const char *data, size_t len, struct err *err)
{
	while (len > 0) {
		ssize_t n = (ssize_t)len; /* the epilogue is passed over */

		if (parser->state == MULTIPART_START || parser->state == MULTIPART_DATA)
			n = eat_data(parser, data, len, err);
		else if (parser->state == MULTIPART_AFTER)
			n = eat_after(parser, data, err);
		else if (parser->state == MULTIPART_HEADER)
			n = eat_header(parser, data, len, err);
		if (n < 0)
			return (int)n;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int multipart_finish(const struct multipart *parser, struct err *err)
{
	if (parser->state != MULTIPART_EPILOGUE)
		return fault(err, "it ends before its closing boundary");
	return 0;
}
