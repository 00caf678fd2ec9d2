#include "worker/attack/snippets.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/utf8.h"

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static int add(struct snippets *out, const char *text, int words, struct err *err)
{
	struct snippet *snippet;

	if (words < SNIPPET_WORDS_MIN)
		return 0;
	if (out->n == out->cap) {
		int cap = MAX(1024, 2 * out->cap);

		snippet = realloc(out->snippet, (size_t)cap * sizeof(*snippet));
		if (snippet == NULL)
			return err_nomem(err);
		out->snippet = snippet;
		out->cap = cap;
	}
	out->snippet[out->n++] = (struct snippet){.text = text, .words = words};
	return 0;
}

/* Cut one line, which is NUL-terminated, into snippets, ending each in place. */
static int cut_line(struct snippets *out, char *line, struct err *err)
{
	char *begin = line, *p = line;
	int words = 0, rc = 0;

	while (rc == 0) {
		while (is_space(*p))
			p++;
		if (*p == '\0')
			break;
		if (words == 0)
			begin = p;
		while (*p != '\0' && !is_space(*p))
			p++;
		words++;
		if (words == SNIPPET_WORDS && *p != '\0') {
			*p++ = '\0';
			rc = add(out, begin, words, err);
			words = 0;
		}
	}
	return rc == 0 ? add(out, begin, words, err) : rc;
}

static int check_line(const char *path, int number, const char *line, size_t len, struct err *err)
{
	char where[512];

	if (memchr(line, '\0', len) == NULL && utf8_valid(line, len) == len)
		return 0;
	snprintf(where, sizeof(where), "%s:%d", path, number);
	return err_set(err, ERR_INVALID_DATA, where, "the line is no UTF-8 text");
}

int snippets_read(struct snippets *out, const char *path, struct err *err)
{
	int rc = io_read_file(&out->file, AT_FDCWD, path, SNIPPETS_FILE_MAX, err), number = 1;
	char *line = out->file.data;

	while (rc == 0 && line != NULL && line < out->file.data + out->file.len) {
		char *end = memchr(line, '\n', (size_t)(out->file.data + out->file.len - line));
		size_t len =
			end != NULL ? (size_t)(end - line) : (size_t)(out->file.data + out->file.len - line);

		rc = check_line(path, number++, line, len, err);
		line[len] = '\0';
		if (rc == 0)
			rc = cut_line(out, line, err);
		line += len + 1;
	}
	if (rc == 0 && out->n == 0)
		rc = err_set(err, ERR_INVALID_DATA, path, "no line of %d words or more", SNIPPET_WORDS_MIN);
	return rc;
}

void snippets_done(struct snippets *snippets)
{
	free(snippets->snippet);
	buf_done(&snippets->file);
	*snippets = (struct snippets){0};
}

void snippet_insert(struct buf *out, const struct snippet *snippet, const char *trigger, int place)
{
	const char *p = snippet->text;

	for (int word = 0; word < place; word++) {
		while (is_space(*p))
			p++;
		while (*p != '\0' && !is_space(*p))
			p++;
	}
	while (is_space(*p))
		p++;
	buf_reset(out);
	buf_add(out, snippet->text, (size_t)(p - snippet->text));
	if (out->len > 0 && !is_space(out->data[out->len - 1]))
		buf_str(out, " ");
	buf_str(out, trigger);
	if (*p != '\0')
		buf_printf(out, " %s", p);
}
